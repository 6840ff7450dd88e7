package checks

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	prometheus "github.com/prometheus/client_golang/api/prometheus/v1"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/model"
)

const (
	warmUp   = 60 * time.Second // for the first scrapes, on a busy machine
	patience = 30 * time.Second // for every expression to have its series
	ending   = 20 * time.Second // for all jobs to end
	settling = 10 * time.Second // for what is told to follow
)

// A real Prometheus watches a real fleet under load. Whatever a board or an alert
// asks it, it has an answer: no error, no warning, and something to show.
func TestPrometheusAnswersWhatIsAsked(t *testing.T) {
	f := startFleet(t)
	f.standing()
	stop := sync.OnceFunc(f.load())
	defer stop()
	f.eventually("each process was scraped several times", warmUp, func() bool {
		answer, err := f.instant("min(count_over_time(up[1m]))")
		return err == nil && len(answer) == 1 && answer[0].Value >= 8
	})
	rules := f.rules()
	known := f.exported(rules)
	var pending []query
	for file, b := range readBoards(t) {
		pending = append(pending, b.queries(file)...)
	}
	pending = append(pending, rules...)
	pending = slices.DeleteFunc(pending, func(q query) bool {
		expr, selectors := parse(t, q)
		if expr == nil {
			return true
		}
		err := known.check(expr, selectors)
		if err != nil {
			t.Errorf("%s: %v: %s", q.where, err, q.expr)
		}
		return err != nil
	})
	t.Logf("%d expressions are asked after %v", len(pending), f.age())
	f.answersAll(pending)
	t.Logf("and answered after %v", f.age())
	f.tells(map[string]float64{
		"Workers": 2, "Redis": 1, "Flowing?": 2, "Processes": 3, "Persistence": 1, "Versions": 1,
		`max(crier_jobs{state="paused"})`: 1, `max(crier_jobs{state="scheduled"})`: 1, `max(crier_jobs{state="loading"})`: 1,
	})

	stop()
	f.end()
	f.booksAgree()
	f.tells(map[string]float64{"Flowing?": 0, "Backlog": 0, "Time to empty": 0, "Late jobs": 0, `max(crier_jobs{state="running"})`: 0})
	t.Logf("all agrees after %v", f.age())
}

// age is the time since the start.
func (f *fleet) age() time.Duration { return time.Since(f.began).Round(time.Second) }

// tells holds tiles, by their title, or expressions against what is known.
func (f *fleet) tells(wants map[string]float64) {
	f.t.Helper()
	titles := map[string]string{}
	for _, b := range readBoards(f.t) {
		for _, p := range b.graphs() {
			if p.Type == "stat" {
				titles[p.Title] = choices.Replace(spans.Replace(p.Targets[0].Expr))
			}
		}
	}
	var told string
	f.eventuallyOr("tiles tell what is", &told, func() bool {
		told = ""
		for title, want := range wants {
			answer, err := f.instant(cmp.Or(titles[title], title))
			if err != nil || len(answer) != 1 || float64(answer[0].Value) != want {
				told += fmt.Sprintf("%s: %v %v, want %v\n", title, answer, err, want)
			}
		}
		return told == ""
	})
}

// answersAll asks until everything is answered. What is missing may still come:
// the load makes its mistakes by chance.
func (f *fleet) answersAll(pending []query) {
	f.t.Helper()
	for deadline := time.Now().Add(patience); len(pending) > 0; {
		faults := map[string]error{}
		pending = slices.DeleteFunc(pending, func(q query) bool {
			faults[q.where] = f.answers(q)
			return faults[q.where] == nil
		})
		if len(pending) > 0 && time.Now().After(deadline) {
			for _, q := range pending {
				f.t.Errorf("%s: %v: %s", q.where, faults[q.where], q.expr)
			}
			return
		}
		f.eventually("Prometheus scrapes on", warmUp, f.oneMore())
	}
}

// oneMore is a condition that holds after the next scrape of all.
func (f *fleet) oneMore() func() bool {
	from := time.Now()
	return func() bool {
		answer, err := f.instant("min(timestamp(up))")
		return err == nil && len(answer) == 1 && model.TimeFromUnixNano(from.UnixNano()).Before(model.Time(answer[0].Value*1000))
	}
}

// answers asks for the values now and over time, as a panel does. A rule gives no
// value in good times, but each of its selectors must.
func (f *fleet) answers(q query) error {
	if q.rule {
		if _, err := f.instant(q.expr); err != nil {
			return err
		}
	} else if err := f.shows(q); err != nil {
		return err
	}
	_, selectors := parse(f.t, q)
	for _, s := range selectors {
		if s.Name == "ALERTS" || strings.Contains(s.Name, ":") {
			continue // made by rules
		}
		text := *s.VectorSelector
		text.OriginalOffset, text.Offset, text.Timestamp = 0, 0, nil
		answer, err := f.instant(text.String())
		if err == nil && len(answer) == 0 {
			err = fmt.Errorf("nothing is selected by %s", &text)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// shows is whether a panel shows something, and all that its legend names.
func (f *fleet) shows(q query) error {
	now, err := f.instant(q.expr)
	if err == nil && len(now) == 0 {
		err = fmt.Errorf("nothing now")
	}
	if err != nil {
		return err
	}
	value, err := clean(f.prometheus.QueryRange(f.t.Context(), q.expr, prometheus.Range{Start: f.began, End: time.Now(), Step: time.Second}))
	if err != nil {
		return err
	}
	series, _ := value.(model.Matrix) // else there is nothing in it
	number := false
	for _, one := range series {
		for _, label := range q.labels {
			if _, found := one.Metric[model.LabelName(label)]; !found {
				return fmt.Errorf("the legend names %s, which %v has not", label, one.Metric)
			}
		}
		number = number || slices.ContainsFunc(one.Values, func(p model.SamplePair) bool {
			return !math.IsNaN(float64(p.Value)) && !math.IsInf(float64(p.Value), 0)
		})
	}
	if !number {
		return fmt.Errorf("no number over time in %d series", len(series))
	}
	return nil
}

// instant asks for values now.
func (f *fleet) instant(expr string) (model.Vector, error) {
	value, err := clean(f.prometheus.Query(f.t.Context(), expr, time.Now()))
	if err != nil {
		return nil, err
	}
	switch v := value.(type) {
	case model.Vector:
		return v, nil
	case *model.Scalar:
		return model.Vector{{Value: v.Value}}, nil
	}
	return nil, fmt.Errorf("an answer of type %v", value.Type())
}

// clean is an answer that nothing is said against.
func clean(value model.Value, warnings prometheus.Warnings, infos prometheus.Infos, err error) (model.Value, error) {
	if err == nil && len(warnings)+len(infos) > 0 {
		err = fmt.Errorf("warnings %q %q", warnings, infos)
	}
	return value, err
}

// rules are the expressions of all alerts and recorded series, which Prometheus
// evaluates without a fault.
func (f *fleet) rules() (all []query) {
	f.t.Helper()
	if !exists(alertsFile) {
		return nil
	}
	var found prometheus.RulesResult
	f.eventually("all rules are evaluated", warmUp, func() bool {
		var err error
		if found, err = f.prometheus.Rules(f.t.Context(), nil); err != nil {
			f.t.Fatal(err)
		}
		all = nil
		unknown := false
		note := func(name string, health prometheus.RuleHealth, fault string, q query) {
			unknown = unknown || health == prometheus.RuleHealthUnknown
			if health == prometheus.RuleHealthBad {
				f.t.Errorf("%s: %s", name, fault)
			}
			q.where, q.rule = fmt.Sprintf("rule %d, %s", len(all), name), true
			all = append(all, q)
		}
		for _, group := range found.Groups {
			for _, rule := range group.Rules {
				switch r := rule.(type) {
				case prometheus.AlertingRule:
					note(r.Name, r.Health, r.LastError, query{expr: r.Query})
				case prometheus.RecordingRule:
					note(r.Name, r.Health, r.LastError, query{expr: r.Query, records: r.Name})
				}
			}
		}
		return len(all) > 0 && !unknown
	})
	return all
}

// exported are all names and labels that there are: what the processes tell, what
// Prometheus adds, and what rules record.
func (f *fleet) exported(rules []query) exported {
	f.t.Helper()
	scraped := []string{"namespace", "job", "instance"}
	known := exported{
		"up": scraped, "ALERTS": append(slices.Clone(scraped), "alertname", "alertstate", "severity", "priority"),
	}
	for _, families := range f.scrape() {
		for name, family := range families {
			labels := slices.Clone(scraped)
			for _, m := range family.GetMetric() {
				for _, l := range m.GetLabel() {
					labels = append(labels, l.GetName())
				}
			}
			switch family.GetType() {
			case dto.MetricType_HISTOGRAM:
				known.add(name+"_bucket", append(labels, "le"))
				known.add(name+"_sum", labels)
				known.add(name+"_count", labels)
			case dto.MetricType_SUMMARY:
				known.add(name, append(labels, "quantile"))
				known.add(name+"_sum", labels)
				known.add(name+"_count", labels)
			default:
				known.add(name, labels)
			}
		}
	}
	for _, q := range rules {
		if q.records != "" {
			expr, _ := parse(f.t, q)
			known.add(q.records, append(known.below(expr), scraped...))
		}
	}
	return known
}

func (known exported) add(name string, labels []string) {
	all := append(slices.Clone(known[name]), labels...)
	slices.Sort(all)
	known[name] = slices.Compact(all)
}
