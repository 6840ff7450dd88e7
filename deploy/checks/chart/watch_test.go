package chart

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

const runbook = "https://git.example.com/crier/docs/runbook.md"

// The alerts are those of deploy/prometheus, but for the address of the runbook.
func TestAlertsOfTheChart(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../prometheus/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	var want monitoringv1.PrometheusRuleSpec
	if err := yaml.UnmarshalStrict(bytes.ReplaceAll(text, []byte("docs/runbook.md"), []byte(runbook)), &want); err != nil {
		t.Fatal(err)
	}
	got := render(t, "all", "").objects["PrometheusRule/x-post"].(*monitoringv1.PrometheusRule)
	if diff := cmp.Diff(want, got.Spec); diff != "" || len(got.Spec.Groups) == 0 {
		t.Errorf("alerts (-want +got):\n%s", diff)
	}
	for _, group := range got.Spec.Groups {
		for _, rule := range group.Rules {
			if rule.Alert != "" && !strings.HasPrefix(rule.Annotations["runbook_url"], runbook) {
				t.Errorf("%s: %v", rule.Alert, rule.Annotations)
			}
		}
	}
}

// The dashboards are those of deploy/grafana.
func TestDashboardsOfTheChart(t *testing.T) {
	t.Parallel()
	files, err := os.ReadDir("../../grafana/dashboards")
	if err != nil {
		t.Fatal(err)
	}
	maps := kind[*corev1.ConfigMap](render(t, "all", ""))
	if len(maps) != len(files) {
		t.Errorf("%d of %d", len(maps), len(files))
	}
	for _, m := range maps {
		for name, got := range m.Data {
			want, err := os.ReadFile("../../grafana/dashboards/" + name)
			if err != nil {
				t.Fatal(err)
			}
			if !json.Valid([]byte(got)) || strings.TrimSpace(got) != strings.TrimSpace(string(want)) || m.Labels["grafana_dashboard"] != "1" {
				t.Errorf("%s is not as in deploy/grafana, or nobody chooses it: %v", name, m.Labels)
			}
		}
	}
}
