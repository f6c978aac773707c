package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"rdma-engine/sidecar/internal/enginetest"
)

// writeConfig copies the repository's prometheus.yml and its rules to dir, with other addresses and shorter
// intervals, so that what is tested is what is in the repository. The addresses of each port replace those that
// the file has.
func writeConfig(dir string, addresses map[string][]string) error {
	from := filepath.Join(enginetest.Root(), "config")
	if err := os.MkdirAll(filepath.Join(dir, "rules"), 0o700); err != nil {
		return err
	}
	config, err := os.ReadFile(filepath.Join(from, "prometheus.yml"))
	if err != nil {
		return err
	}
	text := everySecond(readdressed(string(config), addresses))
	if err := os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(text), 0o600); err != nil {
		return err
	}
	rules, err := os.ReadDir(filepath.Join(from, "rules"))
	for _, entry := range rules {
		if entry.IsDir() || filepath.Ext(entry.Name()) != ".yml" {
			continue
		}
		rule, readErr := os.ReadFile(filepath.Join(from, "rules", entry.Name()))
		writeErr := os.WriteFile(filepath.Join(dir, "rules", entry.Name()), []byte(everySecond(string(rule))), 0o600)
		err = errors.Join(err, readErr, writeErr)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("config/rules: no such folder")
	}
	return err
}

var (
	intervals = regexp.MustCompile(`(?m)^( *(?:scrape_|evaluation_)?interval| *scrape_timeout): *\S+`)
	flowList  = regexp.MustCompile(`\[[^\]]*:(\d+)["']? *\]`)
	blockItem = regexp.MustCompile(`(?m)^( *- *)["']?[\w.-]+:(\d+)["']? *\n`)
)

func everySecond(text string) string { return intervals.ReplaceAllString(text, "$1: 1s") }

// readdressed replaces lists of targets, in either of YAML's notations, by the addresses for their port.
func readdressed(text string, addresses map[string][]string) string {
	text = flowList.ReplaceAllStringFunc(text, func(list string) string {
		found, ok := addresses[flowList.FindStringSubmatch(list)[1]]
		if !ok {
			return list
		}
		return `["` + strings.Join(found, `", "`) + `"]`
	})
	seen := map[string]bool{}
	return blockItem.ReplaceAllStringFunc(text, func(item string) string {
		match := blockItem.FindStringSubmatch(item)
		found, ok := addresses[match[2]]
		if !ok || seen[match[2]] {
			if ok {
				return ""
			}
			return item
		}
		seen[match[2]] = true
		return match[1] + `"` + strings.Join(found, "\"\n"+match[1]+`"`) + "\"\n"
	})
}
