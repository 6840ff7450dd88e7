package pacing

import "time"

// Unit is what a limit counts.
type Unit string

// The units, and what breaking their limit answers (CHAT-API: "Limits").
const (
	Calls   Unit = "calls"   // 429 reach_limit
	Targets Unit = "targets" // 403 message send reach limit
)

// Kind is how a limit counts. The vendor does not say which it is, so the gate
// has to do well with all.
type Kind string

// The kinds.
const (
	Fixed   Kind = "fixed"   // N in each of a row of windows, which begin anew at once
	Sliding Kind = "sliding" // N in any window: every call leaves it by itself
	Bucket  Kind = "bucket"  // N at once, and N again in the time of a window, drop by drop
)

// Limit is one limit of a link: N calls or targets in a window.
type Limit struct {
	N      int
	Unit   Unit
	Window time.Duration
	Kind   Kind
	Phase  time.Duration // of fixed windows: one begins at this time; less than Window
	Steps  []Step        // changes of N in the course of the run, earliest first
	// ChargeRefused counts a refused call as well, whichever limit refuses it:
	// who does not wait is kept out longer.
	ChargeRefused bool
}

// Step is a change of a limit: from At on it is N.
type Step struct {
	At time.Duration
	N  int
}

// at is the limit at a time.
func (l Limit) at(t time.Duration) int {
	n := l.N
	for _, s := range l.Steps {
		if s.At <= t {
			n = s.N
		}
	}
	return n
}

// rate is what the limit allows in a second, at a time.
func (l Limit) rate(t time.Duration) float64 { return float64(l.at(t)) / l.Window.Seconds() }

// allowed is what the limit allows in the time from one moment to another, in
// its unit: the mean, in which the beginning of windows plays no part.
func (l Limit) allowed(from, to time.Duration) float64 {
	sum := 0.0
	l.pieces(from, to, func(from, to time.Duration) { sum += l.rate(from) * (to - from).Seconds() })
	return sum
}

// pieces cuts a time at the steps of the limit.
func (l Limit) pieces(from, to time.Duration, piece func(from, to time.Duration)) {
	for _, s := range l.Steps {
		if from < s.At && s.At < to {
			piece(from, s.At)
			from = s.At
		}
	}
	if from < to {
		piece(from, to)
	}
}

// cost is what a call takes of the limit.
func (l Limit) cost(targets int) int {
	if l.Unit == Targets {
		return targets
	}
	return 1
}

// counter is a limit at work. Its times never go back.
type counter struct {
	Limit
	used  float64       // fixed: of the window; sliding: of the log; bucket: what is missing in it
	last  time.Duration // of the last look
	taken []taking      // sliding only, oldest first
}

// taking is what a call took of a sliding window.
type taking struct {
	at   time.Duration
	cost int
}

// fits reports whether the limit has room for a call now.
func (c *counter) fits(now time.Duration, targets int) bool {
	switch c.Kind {
	case Fixed:
		if c.window(now) != c.window(c.last) {
			c.used = 0
		}
	case Sliding:
		for len(c.taken) > 0 && c.taken[0].at+c.Window <= now {
			c.used -= float64(c.taken[0].cost)
			c.taken = c.taken[1:]
		}
	case Bucket:
		c.pieces(c.last, now, func(from, to time.Duration) {
			c.used = min(c.used, float64(c.at(from))) // a bucket that has shrunk holds no less than nothing
			c.used = max(0, c.used-c.rate(from)*(to-from).Seconds())
		})
	}
	c.last = now
	const dust = 1e-9 // of a call: what arithmetic with fractions leaves
	return c.used+float64(c.cost(targets)) <= float64(c.at(now))+dust
}

// charge enters a call. Ask fits first, at the same time.
func (c *counter) charge(targets int) {
	c.used += float64(c.cost(targets))
	switch c.Kind {
	case Sliding:
		c.taken = append(c.taken, taking{c.last, c.cost(targets)})
	case Bucket:
		c.used = min(c.used, float64(c.at(c.last))) // it cannot be emptier than empty
	case Fixed: // what is over the limit counts for this window only
	}
}

// window is the number of the fixed window that a time is in.
func (c *counter) window(t time.Duration) int64 { return int64((t + c.Window - c.Phase) / c.Window) }
