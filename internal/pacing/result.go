package pacing

import (
	"slices"
	"time"
)

// Result is what became of a run.
type Result struct {
	Scenario Scenario
	Calls    []Call // by the time at which the API decided
	Waits    []Wait // of urgent calls, those that still wait at the end included
	Asked    int    // questions to the gate
}

// Call is one call.
type Call struct {
	At      time.Duration // when the API decided
	Targets int
	Verdict Verdict
	Urgent  bool
}

// Wait is how long an urgent call waited before it was made, the time that
// refused attempts took included.
type Wait struct{ Due, Wait time.Duration }

// Second is what one stretch of a series holds, in calls or in targets.
type Second struct {
	Offered  float64 // all that was sent
	Accepted float64
	Refused  float64
	Allowed  float64 // what the link would have allowed
}

// Series counts calls, or targets, in stretches of equal length from the beginning.
func (r *Result) Series(unit Unit, stretch time.Duration) []Second {
	list := make([]Second, int((r.Scenario.Length+stretch-1)/stretch))
	for i := range list {
		at := time.Duration(i) * stretch
		list[i].Allowed = r.Scenario.allowed(unit, at, at+stretch)
	}
	for _, c := range r.Calls {
		s, cost := &list[c.At/stretch], c.cost(unit)
		s.Offered += cost
		switch {
		case c.Verdict == Accepted:
			s.Accepted += cost
		case c.Verdict.refused():
			s.Refused += cost
		}
	}
	return list
}

func (c Call) cost(unit Unit) float64 {
	if unit == Targets {
		return float64(c.Targets)
	}
	return 1
}

// Used is the part of what the link would have allowed in a time that was
// accepted, in the unit that binds: 1 = all of it. It is a mean: for windows it
// says most over a whole number of them.
func (r *Result) Used(from, to time.Duration) float64 {
	used := 0.0
	for _, unit := range []Unit{Calls, Targets} {
		allowed := r.Scenario.allowed(unit, from, to)
		if allowed == 0 {
			continue // nothing bounds them
		}
		accepted := 0.0
		for _, c := range r.Calls {
			if from <= c.At && c.At < to && c.Verdict == Accepted {
				accepted += c.cost(unit)
			}
		}
		used = max(used, accepted/allowed)
	}
	return used
}

// Refused is the part of the calls in a time that the API refused. Calls that
// did not reach it count as calls.
func (r *Result) Refused(from, to time.Duration) float64 {
	all, refused := 0, 0
	for _, c := range r.Calls {
		if c.At < from || c.At >= to {
			continue
		}
		all++
		if c.Verdict.refused() {
			refused++
		}
	}
	return float64(refused) / float64(max(all, 1))
}

// Sent is how many calls were made in a time, whatever became of them.
func (r *Result) Sent(from, to time.Duration) int {
	sent := 0
	for _, c := range r.Calls {
		if from <= c.At && c.At < to {
			sent++
		}
	}
	return sent
}

// UrgentWait is the wait that the part q (0-1) of the urgent calls that came up
// in a time did not exceed: 0.5 = the median, 1 = the longest.
func (r *Result) UrgentWait(q float64, from, to time.Duration) time.Duration {
	var waits []time.Duration
	for _, w := range r.Waits {
		if from <= w.Due && w.Due < to {
			waits = append(waits, w.Wait)
		}
	}
	if len(waits) == 0 {
		return 0
	}
	slices.Sort(waits)
	return waits[min(int(q*float64(len(waits))), len(waits)-1)]
}
