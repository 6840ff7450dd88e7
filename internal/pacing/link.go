package pacing

import (
	"math/rand/v2"
	"time"
)

// Link is a vendor's API as calls see it: its limits, its time, its faults. The
// zero Link answers every call with a success, at once.
type Link struct {
	Limits []Limit // a call has to fit all of them; one that is refused takes nothing, if no limit says otherwise

	Latency time.Duration // the least time from a call to its answer; the API decides at half of it
	Jitter  time.Duration // up to so much is added at random, evenly spread

	// Noise is the part of calls (0-1) that is answered 429 whatever the rate is.
	Noise float64
	// RetryAfter is what a refused call is told to wait; 0 = it is told nothing.
	RetryAfter time.Duration
	// Outages are the times in which connections are refused.
	Outages []Span
}

// Span is a time from one moment to just before another.
type Span struct{ From, To time.Duration }

// holds reports whether a moment is in it.
func (s Span) holds(t time.Duration) bool { return s.From <= t && t < s.To }

// Verdict is what became of a call.
type Verdict string

// The verdicts.
const (
	Accepted       Verdict = "accepted"
	RefusedCalls   Verdict = "429"
	RefusedTargets Verdict = "403"
	Unreached      Verdict = "unreached" // the connection was refused
)

// refused reports whether the API has answered, and asked to slow down.
func (v Verdict) refused() bool { return v == RefusedCalls || v == RefusedTargets }

// up is the time from one moment to another without the outages in it.
func (l Link) up(from, to time.Duration) []Span {
	var spans []Span
	for _, o := range l.Outages {
		if o.To <= from || to <= o.From {
			continue
		}
		if from < o.From {
			spans = append(spans, Span{from, o.From})
		}
		from = o.To
	}
	if from < to {
		spans = append(spans, Span{from, to})
	}
	return spans
}

// server is a link at work.
type server struct {
	Link
	counters []*counter
	latency  *rand.Rand
	noise    *rand.Rand
}

func newServer(l Link, seed uint64) *server {
	s := &server{Link: l, latency: source(seed, "latency"), noise: source(seed, "noise")}
	for _, limit := range l.Limits {
		s.counters = append(s.counters, &counter{Limit: limit})
	}
	return s
}

// source is a source of chance of its own for each purpose, so that one more
// draw for one of them changes nothing for the others.
func source(seed uint64, purpose string) *rand.Rand {
	var stream uint64
	for _, c := range []byte(purpose) {
		stream = stream<<8 | uint64(c)
	}
	return rand.New(rand.NewPCG(seed, stream))
}

// delay draws the time from a call to its answer.
func (s *server) delay() time.Duration {
	if s.Jitter == 0 {
		return s.Latency
	}
	return s.Latency + time.Duration(s.latency.Int64N(int64(s.Jitter)))
}

// decide is what the API makes of a call with so many targets.
func (s *server) decide(now time.Duration, targets int) Verdict {
	for _, o := range s.Outages {
		if o.holds(now) {
			return Unreached
		}
	}
	if s.noise.Float64() < s.Noise {
		return RefusedCalls
	}
	verdict := Accepted
	for _, c := range s.counters {
		if c.fits(now, targets) || verdict != Accepted {
			continue
		}
		if verdict = RefusedCalls; c.Unit == Targets {
			verdict = RefusedTargets
		}
	}
	for _, c := range s.counters {
		if verdict == Accepted || c.ChargeRefused {
			c.charge(targets)
		}
	}
	return verdict
}
