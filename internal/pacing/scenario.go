package pacing

import (
	"fmt"
	"time"
)

// Scenario is one run, and how well the gate has to do in it.
type Scenario struct {
	Name   string
	About  string // for people, one line
	Quota  string // what the gate is told, as CHAT_QUOTA; "auto" = nothing
	Groups bool   // the targets are groups, else users
	Link   Link
	Fleet  Fleet
	Length time.Duration
	Bands  []Band
}

// targetType is what the gate is asked for.
func (s Scenario) targetType() string {
	if s.Groups {
		return "chatgroups"
	}
	return "users"
}

// allowed is what the link would have allowed in a time while it was up, by the
// narrowest of its limits in this unit; 0 = it has none. Without any limit it
// is what the fleet can do in calls, and no noise takes away.
func (s Scenario) allowed(unit Unit, from, to time.Duration) float64 {
	least := 0.0
	for _, l := range s.Link.Limits {
		if l.Unit != unit {
			continue
		}
		sum := 0.0
		for _, up := range s.Link.up(from, to) {
			sum += l.allowed(up.From, up.To)
		}
		if least == 0 || sum < least {
			least = sum
		}
	}
	if len(s.Link.Limits) == 0 && unit == Calls {
		mean := s.Link.Latency + s.Link.Jitter/2
		for _, up := range s.Link.up(from, to) {
			least += float64(s.Fleet.Workers*s.Fleet.Places) * (1 - s.Link.Noise) * (up.To - up.From).Seconds() / mean.Seconds()
		}
	}
	return least
}

// Measure is what a band bounds.
type Measure string

// The measures.
const (
	MostSent    Measure = "sent"    // calls, at most
	LeastUsed   Measure = "used"    // part of what is allowed, at least
	MostRefused Measure = "refused" // part of the calls, at most
	UrgentP95   Measure = "urgent"  // seconds that 95 % of the urgent calls wait, at most
)

// Band is what a measure has to keep to in a time of the run.
type Band struct {
	Measure  Measure
	From, To time.Duration
	Bound    float64
}

// Of measures a result.
func (b Band) Of(r *Result) float64 {
	switch b.Measure {
	case LeastUsed:
		return r.Used(b.From, b.To)
	case MostRefused:
		return r.Refused(b.From, b.To)
	case MostSent:
		return float64(r.Sent(b.From, b.To))
	case UrgentP95:
		return r.UrgentWait(0.95, b.From, b.To).Seconds()
	default:
		panic("pacing: no measure: " + string(b.Measure))
	}
}

// Holds reports whether a measured value keeps to the band.
func (b Band) Holds(value float64) bool {
	if b.Measure == LeastUsed {
		return value >= b.Bound
	}
	return value <= b.Bound
}

// Text writes a value as people read this measure: 97.2 %, 12 calls, 80 ms.
func (b Band) Text(value float64) string {
	switch b.Measure {
	case MostSent:
		return fmt.Sprintf("%.0f calls", value)
	case UrgentP95:
		return fmt.Sprintf("%.0f ms", 1000*value)
	default:
		return fmt.Sprintf("%.1f %%", 100*value)
	}
}

// Want is the bound as people read it: >= 95.0 %.
func (b Band) Want() string {
	if b.Measure == LeastUsed {
		return ">= " + b.Text(b.Bound)
	}
	return "<= " + b.Text(b.Bound)
}

// String is the band in words: used >= 95.0 % from 15s to 1m15s.
func (b Band) String() string {
	return fmt.Sprintf("%s %s from %v to %v", b.Measure, b.Want(), b.From, b.To)
}

// between bounds how much of the quota is used and how many calls are refused
// in a time given in seconds.
func between(from, to int, leastUsed, mostRefused float64) []Band {
	span := Span{time.Duration(from) * time.Second, time.Duration(to) * time.Second}
	return []Band{
		{LeastUsed, span.From, span.To, leastUsed},
		{MostRefused, span.From, span.To, mostRefused},
	}
}
