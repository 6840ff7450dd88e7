package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// report writes what happened and what is wrong; an error if anything is.
func report(out io.Writer, w *world, l *load, b *books) error {
	var text strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&text, "%-26s "+format+"\n", append([]any{name}, args...)...)
	}
	stats := w.sim.Stats()
	text.WriteString("\n")
	line("jobs", "%d, of them %d urgent and %d hold", b.jobs, count(l.jobs, func(j job) bool { return j.urgent }), count(l.jobs, func(j job) bool { return j.hold }))
	line("targets", "%d", b.sum.Total)
	line("outcomes", "%d sent, %d failed, %d unknown", b.sum.Sent, b.sum.Failed, b.sum.Unknown)
	line("calls", "%d, of them %d accepted, %d of these without a whole answer", stats.Calls, stats.AcceptedCalls, stats.LostCalls)
	line("refused, outages", "%d over the quota, %d calls that met an outage", stats.Refused["429 reach_limit"], stats.Outages)
	line("delivered", "%d, of them %d again", stats.AcceptedTargets, b.again)
	line("  after a lost answer", "%d", b.causes)
	line("  else", "%d, at most %d: answers that nobody may have recorded when a calamity came", b.again-b.causes, b.doubted)
	if b.lossy {
		line("  excused by everysec", "%d", b.excused)
	}
	line("resent, as Crier tells", "%d", b.sum.Resent)
	kills := 0
	var kinds []string
	for _, kind := range slices.Concat(lanes...) {
		kills += w.counts[kind]
		kinds = append(kinds, fmt.Sprintf("%s %d", kind, w.counts[kind]))
	}
	line("calamities", "%s", strings.Join(kinds, ", "))
	for _, kind := range []calamity{killAll, killRedis, fullRedis, outage} {
		if median, worst, n := w.meter.figures(kind); n > 0 {
			line("next call after "+string(kind), "median %s, worst %s, of %d", round(median), round(worst), n)
		}
	}
	line("longest pause of calls", "%s, with workers, Redis and the API there", round(w.meter.longest()))
	line("time", "%s", time.Since(w.began).Round(100*time.Millisecond))
	text.WriteString("\n")
	text.WriteString(b.String())
	verdict := "books balance"
	if n := b.violations(); n > 0 {
		verdict = fmt.Sprintf("%d VIOLATIONS", n)
	}
	fmt.Fprintf(&text, "torture: seed %d, %d targets, %d calamities: %d sent, %d failed, %d unknown, %d delivered again, %d resent; %s\n",
		w.options.Seed, b.sum.Total, kills, b.sum.Sent, b.sum.Failed, b.sum.Unknown, b.again, b.sum.Resent, verdict)
	if _, err := io.WriteString(out, text.String()); err != nil {
		return err
	}
	if b.violations() > 0 {
		return errBooks
	}
	return nil
}

// String lists what is wrong, with examples.
func (b *books) String() string {
	var text strings.Builder
	for _, err := range b.faults {
		fmt.Fprintf(&text, "VIOLATION: %v\n", err)
	}
	var kinds []string
	for v := range b.counts {
		kinds = append(kinds, string(v))
	}
	slices.Sort(kinds)
	for _, v := range kinds {
		fmt.Fprintf(&text, "VIOLATION: %d %s\n", b.counts[violation(v)], v)
		for _, example := range b.examples[violation(v)] {
			fmt.Fprintf(&text, "  %s\n", example)
		}
	}
	if text.Len() > 0 {
		text.WriteString("\n")
	}
	return text.String()
}

func round(d time.Duration) time.Duration { return d.Round(10 * time.Millisecond) }

func count(jobs []job, is func(job) bool) (n int) {
	for _, j := range jobs {
		if is(j) {
			n++
		}
	}
	return n
}
