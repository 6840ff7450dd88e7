package checks

import (
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"crier/internal/gate"
)

const (
	alertRules = "../prometheus/alerts.yml"
	alertTests = "../prometheus/alerts_test.yml"
	runbook    = "../../docs/runbook.md"
)

// rule is an alert or a recording of alerts.yml.
type rule struct {
	Record        string
	Alert         string
	Expr          string
	For           string
	KeepFiringFor string `yaml:"keep_firing_for"`
	Labels        map[string]string
	Annotations   map[string]string
}

// String is the name and the labels, which tell it from others of that name.
func (r rule) String() string {
	text := r.Alert
	for _, name := range slices.Sorted(maps.Keys(r.Labels)) {
		text += " " + name + "=" + r.Labels[name]
	}
	return text
}

// always reports whether r is the watchdog, whose end is what tells.
func (r rule) always() bool { return r.Labels["severity"] == "none" }

// alertCase is what promtool is to find at one moment.
type alertCase struct {
	EvalTime  string `yaml:"eval_time"`
	Alertname string
	ExpAlerts []struct {
		ExpLabels      map[string]string `yaml:"exp_labels"`
		ExpAnnotations map[string]string `yaml:"exp_annotations"`
	} `yaml:"exp_alerts"`
}

// fires reports whether an alert of r, with these labels too, is among those found.
func (c alertCase) fires(r rule, more map[string]string) bool {
	for _, a := range c.ExpAlerts {
		fits := c.Alertname == r.Alert && a.ExpLabels["priority"] == r.Labels["priority"]
		for _, wanted := range []map[string]string{r.Labels, more} {
			for name, value := range wanted {
				fits = fits && a.ExpLabels[name] == value
			}
		}
		if fits {
			return true
		}
	}
	return false
}

func readYAML(t *testing.T, path string, into any) {
	t.Helper()
	file, err := os.Open(filepath.Clean(path))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	decoder := yaml.NewDecoder(file)
	decoder.KnownFields(true)
	if err := decoder.Decode(into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// readAlerts returns the alerts of alerts.yml, without its recordings.
func readAlerts(t *testing.T) []rule {
	t.Helper()
	var file struct {
		Groups []struct {
			Name  string
			Rules []rule
		}
	}
	readYAML(t, alertRules, &file)
	var alerts []rule
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			if r.Alert != "" {
				alerts = append(alerts, r)
			}
		}
	}
	if len(alerts) == 0 {
		t.Fatalf("%s has no alerts", alertRules)
	}
	return alerts
}

func readAlertCases(t *testing.T) (cases []alertCase) {
	t.Helper()
	var file struct {
		RuleFiles          []string `yaml:"rule_files"`
		EvaluationInterval string   `yaml:"evaluation_interval"`
		Tests              []struct {
			Name          string
			Interval      string
			InputSeries   []struct{ Series, Values string } `yaml:"input_series"`
			AlertRuleTest []alertCase                       `yaml:"alert_rule_test"`
		}
	}
	readYAML(t, alertTests, &file)
	for _, test := range file.Tests {
		cases = append(cases, test.AlertRuleTest...)
	}
	return cases
}

func TestAlertsPassPromtool(t *testing.T) {
	promtool := needs(t, "promtool")
	for name, args := range map[string][]string{
		"lint": {"check", "rules", "--lint=all", "--lint-fatal", alertRules},
		"unit": {"test", "rules", alertTests},
	} {
		t.Run(name, func(t *testing.T) {
			if said, err := exec.CommandContext(t.Context(), promtool, args...).CombinedOutput(); err != nil {
				t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, said)
			}
		})
	}
}

func TestAlertsAreComplete(t *testing.T) {
	anchors := map[string]bool{}
	for _, heading := range headings(t) {
		anchors[anchor(heading)] = true
	}
	for _, a := range readAlerts(t) {
		if s := a.Labels["severity"]; s != "page" && s != "ticket" && !a.always() {
			t.Errorf("%s: the severity is %q, and neither page nor ticket", a, s)
		}
		if a.always() != (a.Alert == "CrierWatchdog") {
			t.Errorf("%s: the watchdog calls nobody, and every other alert somebody", a)
		}
		for _, name := range []string{"summary", "description"} {
			if strings.TrimSpace(a.Annotations[name]) == "" {
				t.Errorf("%s: no %s", a, name)
			}
		}
		link, found := strings.CutPrefix(a.Annotations["runbook_url"], "docs/runbook.md#")
		if !found || !anchors[link] || link != anchor(a.Alert) {
			t.Errorf("%s: runbook_url %q is not the alert's own section of the runbook", a, a.Annotations["runbook_url"])
		}
		// One that looks back fires at once, and for as long as it looks.
		if a.For == "" && !a.always() && !strings.Contains(a.Expr, "increase(") && !strings.Contains(a.Expr, "changes(") {
			t.Errorf("%s: one failed scrape or restart could fire it: it has no `for`", a)
		}
	}
}

// A fleet-wide gauge has the same value on every process: without an aggregation
// over them, each process would give an alert, and a sum would count it often.
func TestFleetWideGaugesAreTakenOnce(t *testing.T) {
	once := regexp.MustCompile(`(max|min) by \([a-z_, ]+\) \(((max|min)_over_time\()?$`)
	gauges := regexp.MustCompile(`crier_(quota_|jobs|calls_|breaker_|pending_|workers|census_|queue_tasks|queue_latency_)[a-z_]*`)
	for _, a := range readAlerts(t) {
		for _, at := range gauges.FindAllStringIndex(a.Expr, -1) {
			before := a.Expr[:at[0]]
			ofAbsent := strings.HasSuffix(before, " or ") && strings.Contains(before, "absent(")
			if !once.MatchString(before) && !ofAbsent {
				t.Errorf("%s: %s is not the argument of `max by (...) (`", a, a.Expr[at[0]:at[1]])
			}
		}
	}
}

func TestAlertsFireAndDoNot(t *testing.T) {
	alerts, cases := readAlerts(t), readAlertCases(t)
	for _, a := range alerts {
		var fired, quiet bool
		for _, c := range cases {
			if c.Alertname == a.Alert {
				fires := c.fires(a, nil)
				fired, quiet = fired || fires, quiet || !fires
			}
		}
		if !fired {
			t.Errorf("%s: there is no case in which it fires", a)
		}
		if !quiet && !a.always() {
			t.Errorf("%s: there is no case in which it does not fire", a)
		}
	}
	for _, c := range cases {
		if !slices.ContainsFunc(alerts, func(a rule) bool { return a.Alert == c.Alertname }) {
			t.Errorf("a case at %s speaks of %q, which is no alert", c.EvalTime, c.Alertname)
		}
	}
}

// A new reason for which calls are held needs a thought about whom it wakes.
func TestEveryHoldHasAnAlert(t *testing.T) {
	alerts, cases := readAlerts(t), readAlertCases(t)
	for _, reason := range gate.Reasons() {
		name, more := "CrierCallsHeld", map[string]string{"reason": string(reason)}
		switch reason { //nolint:exhaustive // all others are of CrierCallsHeld
		case gate.ReasonQuota:
			name, more = "CrierQuotaUsedUp", nil
		case gate.ReasonOutage:
			name, more = "CrierOutage", nil
		}
		if !slices.ContainsFunc(cases, func(c alertCase) bool {
			return slices.ContainsFunc(alerts, func(a rule) bool { return a.Alert == name && c.fires(a, more) })
		}) {
			t.Errorf("in no case does %s fire for the reason %s", name, reason)
		}
	}
}

func TestRunbookHasASectionForEachAlert(t *testing.T) {
	alerts := readAlerts(t)
	for _, heading := range headings(t) {
		if strings.HasPrefix(heading, "Crier") && !slices.ContainsFunc(alerts, func(a rule) bool { return a.Alert == heading }) {
			t.Errorf("the runbook has a section %q, and there is no such alert", heading)
		}
	}
	text := readRunbook(t)
	for _, a := range alerts {
		_, section, found := strings.Cut(text, "\n### "+a.Alert+"\n")
		if !found {
			t.Errorf("the runbook has no section %q", a.Alert)
			continue
		}
		section, _, _ = strings.Cut(section, "\n### ")
		for _, part := range []string{"**What it means.**", "**Look at.**", "**Do.**"} {
			if !strings.Contains(section, part) {
				t.Errorf("the runbook's section %q has no part %s", a.Alert, part)
			}
		}
		if row := "| [" + a.Alert + "](#" + anchor(a.Alert) + ") | " + severities(alerts, a.Alert) + " |"; !strings.Contains(text, row) {
			t.Errorf("the runbook's table has no row that begins with %q", row)
		}
	}
}

// severities are those of all alerts of a name, as in "page, ticket".
func severities(alerts []rule, name string) string {
	var all []string
	for _, a := range alerts {
		if s := a.Labels["severity"]; a.Alert == name && !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// Whoever is woken at night looks for these words in a log.
func TestRunbookQuotesTheLogAsItIs(t *testing.T) {
	var code strings.Builder
	for _, dir := range []string{"../../cmd", "../../internal"} {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
				code.WriteString(read(t, path))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	quoted := strings.Join(strings.Fields(readRunbook(t)), " ") // lines end anywhere
	for _, message := range []string{
		"calls are held", "the quota is used up, calls are held", "calls of a worker that is gone may have been carried out",
		"a sweep failed", "no segment could be claimed", "the gate cannot be asked", "the token endpoint gave no token",
		"a task could not be taken in, it comes back", "worker: nothing was started:", "the worker ends", "the namespace belongs to another app",
		"waiting for Redis", "the gateway serves", "new jobs are refused", "Redis is slow", "a request could not be served", "a request failed",
		"what the fleet shares cannot be told to Prometheus", "job ended",
		"jobs will not be done before they expire",
		"Redis may evict keys when its memory is full, and jobs would be lost",
	} {
		if !strings.Contains(quoted, message) {
			t.Errorf("the runbook does not quote %q any more: take it off this list", message)
		}
		if !strings.Contains(code.String(), message) {
			t.Errorf("the runbook quotes %q, which no program says", message)
		}
	}
}

func TestRunbookLinksLeadSomewhere(t *testing.T) {
	for _, link := range regexp.MustCompile(`\]\(([^)#]*)(?:#([^)]*))?\)`).FindAllStringSubmatch(readRunbook(t), -1) {
		path, fragment := runbook, link[2]
		if link[1] != "" {
			path = filepath.Join(filepath.Dir(runbook), link[1])
		}
		found := fragment == ""
		for _, heading := range headingsOf(read(t, path)) {
			found = found || anchor(heading) == fragment
		}
		if !found {
			t.Errorf("the runbook links to %s#%s, and there is no such heading", path, fragment)
		}
	}
}

func TestAlertsAndRunbookNameMetricsThatExist(t *testing.T) {
	metrics := read(t, "../../docs/metrics.md")
	parts := regexp.MustCompile(`_(bucket|count|sum)$`)
	text := readRunbook(t)
	for _, a := range readAlerts(t) {
		text += a.Expr
	}
	for _, name := range regexp.MustCompile(`crier_[a-z_]+[a-z]`).FindAllString(text, -1) {
		if strings.Contains(text, ":"+name+":") || strings.Contains(text, "^"+name+"_'") { // a recording; a pattern of grep
			continue
		}
		if !strings.Contains(metrics, "`"+parts.ReplaceAllString(name, "")+"`") && !strings.Contains(metrics, "`"+parts.ReplaceAllString(name, "")+"{") {
			t.Errorf("there is no metric %s", name)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func readRunbook(t *testing.T) string { t.Helper(); return read(t, runbook) }

func headings(t *testing.T) []string { t.Helper(); return headingsOf(readRunbook(t)) }

func headingsOf(text string) (all []string) {
	for _, found := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(text, -1) {
		all = append(all, found[1])
	}
	return all
}

// anchor is the fragment by which a heading is reached.
func anchor(heading string) string {
	kept := regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(heading), "")
	return strings.ReplaceAll(kept, " ", "-")
}
