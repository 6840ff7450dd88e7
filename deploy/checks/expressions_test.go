package checks

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
)

// parse reads an expression and lists its selectors, each with what stands around it.
func parse(t *testing.T, q query) (parser.Expr, []selector) {
	t.Helper()
	if variables.MatchString(q.expr) {
		t.Errorf("%s: a variable that nobody knows: %s", q.where, q.expr)
	}
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(q.expr)
	if err != nil {
		t.Errorf("%s: %v: %s", q.where, err, q.expr)
		return nil, nil
	}
	var all []selector
	parser.Inspect(expr, func(node parser.Node, path []parser.Node) error {
		if v, ok := node.(*parser.VectorSelector); ok {
			all = append(all, selector{v, slices.Clone(path)})
		}
		return nil
	})
	if len(all) == 0 && q.expr != "vector(1)" { // the watchdog's
		t.Errorf("%s: nothing is selected: %s", q.where, q.expr)
	}
	return expr, all
}

// variables are what Grafana would have put something in for.
var variables = regexp.MustCompile(`\$[a-z_{]`)

type selector struct {
	*parser.VectorSelector
	path []parser.Node // from the whole expression to its parent
}

// matches is whether it asks for a label by just this pattern.
func (s selector) matches(label, pattern string) bool {
	for _, m := range s.LabelMatchers {
		if m.Name == label && m.String() == label+`=~"`+pattern+`"` {
			return true
		}
	}
	return false
}

// within is the innermost call around it, by its function's name; "" = none.
func (s selector) within() string {
	for _, node := range slices.Backward(s.path) {
		if call, ok := node.(*parser.Call); ok {
			return call.Func.Name
		}
	}
	return ""
}

// aggregate is the innermost aggregation around it; 0 = none.
func (s selector) aggregate() parser.ItemType {
	for _, node := range slices.Backward(s.path) {
		if a, ok := node.(*parser.AggregateExpr); ok {
			return a.Op
		}
	}
	return 0
}

// ofOneInstallation is whether the innermost aggregation around it keeps
// installations apart.
func (s selector) ofOneInstallation() bool {
	for _, node := range slices.Backward(s.path) {
		if a, ok := node.(*parser.AggregateExpr); ok {
			return slices.Contains(a.Grouping, "namespace")
		}
	}
	return false
}

// counter are the names of what only grows: alone it tells nothing.
var counter = regexp.MustCompile(`_(total|bucket|sum|count)$`)

// fleetWide are the gauges that have the same value on every process, so that a sum
// of them would count the fleet once for each.
var fleetWide = regexp.MustCompile(`^crier_(quota_limit|quota_used_ratio|jobs|jobs_blocked|calls_held|breaker_open|pending_targets|jobs_late|workers|census_timestamp_seconds|queue_tasks|queue_latency_seconds)$`)

// Every expression can be parsed, is of the chosen processes, and adds up only
// what can be.
func TestExpressionsOfBoards(t *testing.T) {
	for file, b := range readBoards(t) {
		for _, q := range b.queries(file) {
			_, selectors := parse(t, q)
			for _, s := range selectors {
				if !s.matches("namespace", ".*") || !s.matches("job", ".+") || !s.matches("instance", ".+") {
					t.Errorf("%s: %s is not of the chosen installation, job and instance", q.where, s.Name)
				}
				if in := s.within(); counter.MatchString(s.Name) && in != "rate" && in != "increase" {
					t.Errorf("%s: %s is a counter, and neither in rate nor in increase", q.where, s.Name)
				}
				if fleetWide.MatchString(s.Name) && s.aggregate() != parser.MAX {
					t.Errorf("%s: %s is the same on every process: take max of it", q.where, s.Name)
				}
				if fleetWide.MatchString(s.Name) && len(s.path) > 1 && !s.ofOneInstallation() {
					t.Errorf("%s: %s is of several installations: take max by (namespace, ...) of it", q.where, s.Name)
				}
				if strings.HasPrefix(s.Name, "crier_redis_") && counter.MatchString(s.Name) && !strings.Contains(s.Name, "_pool_") && s.aggregate() != parser.MAX {
					t.Errorf("%s: %s is the server's, told by every process: take max of it", q.where, s.Name)
				}
			}
		}
		for _, a := range b.Annotations.List {
			if a.Expr != "" {
				parse(t, query{where: file + ": " + a.Name, expr: choices.Replace(a.Expr)})
			}
		}
		for _, p := range b.graphs() {
			for _, q := range p.Targets {
				for _, span := range regexp.MustCompile(`\[[^\]]*\]`).FindAllString(q.Expr, -1) {
					if span != "[$__rate_interval]" && span != "[$__range]" {
						t.Errorf("%s: %q: a span of %s fits one scrape interval only", file, p.Title, span)
					}
				}
			}
		}
	}
}

// exported are the labels of each metric, by its name.
type exported map[string][]string

// check holds the names in an expression against what is exported: a misspelt one
// selects nothing, and nobody would notice.
func (known exported) check(expr parser.Expr, selectors []selector) error {
	for _, s := range selectors {
		labels, found := known[s.Name]
		if !found {
			return fmt.Errorf("nothing exports %s", s.Name)
		}
		for _, m := range s.LabelMatchers {
			if m.Name != "__name__" && !slices.Contains(labels, m.Name) {
				return fmt.Errorf("%s has no label %s, but %v", s.Name, m.Name, labels)
			}
		}
	}
	var fault error
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		var named []string
		switch n := node.(type) {
		case *parser.AggregateExpr:
			named = n.Grouping
		case *parser.BinaryExpr:
			if n.VectorMatching != nil {
				named = append(slices.Clone(n.VectorMatching.MatchingLabels), n.VectorMatching.Include...)
			}
		}
		for _, label := range named {
			if !slices.Contains(known.below(node), label) {
				fault = fmt.Errorf("label %s is on nothing in %s", label, node)
			}
		}
		return nil
	})
	return fault
}

// below are the labels of all that stands in a part of an expression, with those
// that label_replace and label_join make.
func (known exported) below(part parser.Node) (labels []string) {
	parser.Inspect(part, func(node parser.Node, _ []parser.Node) error {
		switch n := node.(type) {
		case *parser.VectorSelector:
			labels = append(labels, known[n.Name]...)
		case *parser.Call:
			if n.Func.Name == "label_replace" || n.Func.Name == "label_join" {
				if made, ok := n.Args[1].(*parser.StringLiteral); ok {
					labels = append(labels, made.Val)
				}
			}
		}
		return nil
	})
	return labels
}

// The check itself notices what is misspelt.
func TestMisspeltNamesAreNoticed(t *testing.T) {
	known := exported{"a_total": {"job", "kind"}, "b": {"job", "state"}}
	for text, want := range map[string]string{
		`sum by (kind) (rate(a_total{job="x"}[1m]))`:                  "",
		`sum by (job, state) (rate(a_total[1m]) * on (job) b)`:        "",
		`sum by (new) (label_replace(b, "new", "$1", "state", ".*"))`: "",
		`rate(a_totals[1m])`:                 "nothing exports a_totals",
		`b{stat="x"}`:                        "b has no label stat, but [job state]",
		`sum by (kinds) (rate(a_total[1m]))`: "label kinds is on nothing",
		`b / on (jobs) b`:                    "label jobs is on nothing",
		`b * on (job) group_left (verson) b`: "label verson is on nothing",
	} {
		expr, selectors := parse(t, query{where: "here", expr: text})
		if err := known.check(expr, selectors); (err == nil) != (want == "") || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
