package main

const beforeTheLoad = "the daemons are started after Prometheus"

// induced are the alerts that must see what the load causes, and what that is.
var induced = map[string]string{
	"RdmaEngineDown":               beforeTheLoad,
	"RdmaTargetDown":               "the target is stopped for a while",
	"RdmaPeerDown":                 "the target is stopped for a while",
	"RdmaPoolExhausted":            "a client holds almost all of a pool",
	"RdmaPoolFillingUp":            "a client holds almost all of a pool",
	"RdmaSessionLimitNear":         "a client holds almost all sessions",
	"RdmaLatencyBudgetBurnsFast":   "the target is paused again and again while many read from it",
	"RdmaLatencyBudgetBurnsSlowly": "the target is paused again and again while many read from it",
	"RdmaChecksumErrors stored":    "a client asks for a damaged needle",
}

// uncaused are the alerts that must see nothing, and why there is nothing to see.
var uncaused = map[string]string{
	"RdmaScrapeStale":           "every daemon is in the scrape configuration all the time",
	"RdmaNoEngineScraped":       "there are two",
	"RdmaChecksumErrors client": "no client sees other bytes than the engine",
	"RdmaFallbackInUse":         "a fallback is one from a device, and the daemons have none",
}
