package grafana

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestEveryAlertSaysHowBadItIsWhatItMeasuredAndWhatToDo(t *testing.T) {
	rules, err := rules()
	if err != nil {
		t.Fatal(err)
	}
	anchors := map[string]bool{}
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(readme(t), -1) {
		anchors[strings.ReplaceAll(strings.ToLower(heading[1]), " ", "-")] = true
	}
	alerts := 0
	for _, rule := range rules {
		if rule.Alert == "" {
			continue
		}
		alerts++
		if severity := rule.Labels["severity"]; severity != "critical" && severity != "warning" {
			t.Errorf("%s has the severity %q", rule.Alert, severity)
		}
		if rule.Annotations["summary"] == "" || !strings.Contains(rule.Annotations["description"], "{{ $value ") {
			t.Errorf("%s has no summary, or a description without its value", rule.Alert)
		}
		anchor, found := strings.CutPrefix(rule.Annotations["runbook_url"], "README.md#")
		if !found || anchor != strings.ToLower(rule.Alert) || !anchors[anchor] {
			t.Errorf("%s's runbook is %q, which is no heading of the README", rule.Alert, rule.Annotations["runbook_url"])
		}
	}
	if alerts < 8 {
		t.Errorf("there are %d alerts", alerts)
	}
}

func TestEveryAlertIsTestedFiringAndNotFiring(t *testing.T) {
	var tests struct {
		Tests []struct {
			AlertRuleTest []struct {
				Alertname string
				ExpAlerts []struct {
					ExpLabels map[string]string `yaml:"exp_labels"`
				} `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	if err := readYAML(filepath.Join(root, "config/rules/tests/alerts.yml"), &tests); err != nil {
		t.Fatal(err)
	}
	firing, silent := map[string]bool{}, map[string]bool{}
	for _, test := range tests.Tests {
		for _, check := range test.AlertRuleTest {
			if len(check.ExpAlerts) == 0 {
				silent[check.Alertname] = true
			}
			for _, alert := range check.ExpAlerts {
				firing[check.Alertname+alert.ExpLabels["kind"]] = true
			}
		}
	}
	rules, err := rules()
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range rules {
		if rule.Alert != "" && !(firing[rule.Alert+rule.Labels["kind"]] && silent[rule.Alert]) {
			t.Errorf("%s %s is not tested both ways", rule.Alert, rule.Labels["kind"])
		}
	}
}

func TestGrafanaFindsTheDashboardsWhereTheReadmesCommandMountsThem(t *testing.T) {
	var provider struct {
		APIVersion int `yaml:"apiVersion"`
		Providers  []struct {
			Type    string
			Options struct{ Path string }
		}
	}
	if err := readYAML(filepath.Join(root, "grafana/provisioning/dashboards/rdma-engine.yml"), &provider); err != nil {
		t.Fatal(err)
	}
	if provider.APIVersion != 1 || len(provider.Providers) != 1 || provider.Providers[0].Type != "file" {
		t.Fatalf("the provider of dashboards is %+v", provider)
	}
	for _, mount := range []string{
		`-v "$PWD/grafana/provisioning:/etc/grafana/provisioning"`,
		`-v "$PWD/grafana/dashboards:` + provider.Providers[0].Options.Path + `"`,
	} {
		if !strings.Contains(readme(t), mount) {
			t.Errorf("the README does not mount %s", mount)
		}
	}
}

func TestGrafanasDataSourceIsThePrometheusOfTheScrapeConfiguration(t *testing.T) {
	var sources struct {
		APIVersion  int `yaml:"apiVersion"`
		Datasources []struct {
			Type, URL string
			JSONData  struct {
				TimeInterval string `yaml:"timeInterval"`
			} `yaml:"jsonData"`
		}
	}
	if err := readYAML(filepath.Join(root, "grafana/provisioning/datasources/prometheus.yml"), &sources); err != nil {
		t.Fatal(err)
	}
	var prometheus struct {
		Global struct {
			ScrapeInterval string `yaml:"scrape_interval"`
		}
		RuleFiles     []string `yaml:"rule_files"`
		ScrapeConfigs []struct {
			JobName string `yaml:"job_name"`
		} `yaml:"scrape_configs"`
	}
	if err := readYAML(filepath.Join(root, "config/prometheus.yml"), &prometheus); err != nil {
		t.Fatal(err)
	}
	if sources.APIVersion != 1 || len(sources.Datasources) != 1 {
		t.Fatalf("the data sources are %+v", sources)
	}
	source := sources.Datasources[0]
	// The rate's window is at least four of these: a wrong one leaves gaps, or smooths away what happened.
	if source.Type != "prometheus" || source.JSONData.TimeInterval != prometheus.Global.ScrapeInterval {
		t.Errorf("the data source is %+v; Prometheus scrapes every %s", source, prometheus.Global.ScrapeInterval)
	}
	if name := strings.TrimSuffix(strings.TrimPrefix(source.URL, "${"), "}"); !strings.Contains(readme(t), "-e "+name+"=") {
		t.Errorf("the README does not set the address %s", source.URL)
	}
	if jobs := prometheus.ScrapeConfigs; len(jobs) != 2 || jobs[0].JobName != "rdma-engine" || jobs[1].JobName != "rdma-target" {
		t.Errorf("the jobs are %+v", jobs)
	}
	for _, pattern := range prometheus.RuleFiles {
		if files, err := filepath.Glob(filepath.Join(root, "config", pattern)); err != nil || len(files) < 2 {
			t.Errorf("%s matches %v, %v", pattern, files, err)
		}
	}
}
