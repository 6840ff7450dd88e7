package chatsim

import (
	"math"
	"sync"
	"time"
)

// quotaGate decides, one call at a time, whether plan and quotas have room.
type quotaGate struct {
	mu       sync.Mutex
	quotas   Quotas
	meters   map[TargetType][]meter
	accepted int // calls that were let through, for the plan
}

// meter is one limit and its running window.
type meter struct {
	targets bool // counts targets, not calls
	window  window
}

// need is how much of the window a call with so many targets takes.
func (m meter) need(targets int) int {
	if m.targets {
		return targets
	}
	return 1
}

// breach says which rule had no room for a call.
type breach int

const (
	noBreach breach = iota
	planBreach
	callBreach
	targetBreach
)

// setQuotas puts new quotas in force, with empty windows.
func (g *quotaGate) setQuotas(quotas Quotas) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.quotas = quotas
	g.openWindows()
}

// reset empties the windows and forgets the calls of the plan.
func (g *quotaGate) reset() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.accepted = 0
	g.openWindows()
}

// openWindows is called with mu held.
func (g *quotaGate) openWindows() {
	g.meters = make(map[TargetType][]meter, len(g.quotas))
	for targetType, limits := range g.quotas {
		for _, l := range limits {
			g.meters[targetType] = append(g.meters[targetType], meter{targets: l.Targets > 0, window: newWindow(l)})
		}
	}
}

// admit lets a call through or says what stands against it. A call that is
// not let through uses nothing up. Call quotas are looked at first, as they
// are kept by the vendor's front.
func (g *quotaGate) admit(targetType TargetType, targets, planCalls int) breach {
	g.mu.Lock()
	defer g.mu.Unlock()
	if planCalls > 0 && g.accepted >= planCalls {
		return planBreach
	}
	now := time.Now()
	meters := g.meters[targetType]
	found := noBreach
	for _, m := range meters {
		if m.window.room(now) >= m.need(targets) {
			continue
		}
		if !m.targets {
			return callBreach
		}
		found = targetBreach
	}
	if found != noBreach {
		return found
	}
	for _, m := range meters {
		m.window.take(now, m.need(targets))
	}
	g.accepted++
	return noBreach
}

// window is how one limit forgets: room says how much still fits at now, and
// take uses some of it up. Neither is safe for concurrent use; now never goes
// back.
type window interface {
	room(now time.Time) int
	take(now time.Time, n int)
}

func newWindow(l Limit) window {
	size := l.Calls + l.Targets // one of them is 0
	switch l.Mode {
	case ModeSliding:
		return &slidingWindow{size: size, length: l.Window}
	case ModeBucket:
		return &bucketWindow{size: float64(size), level: float64(size), length: l.Window}
	default:
		return &fixedWindow{size: size, length: l.Window}
	}
}

type fixedWindow struct {
	size   int
	length time.Duration
	start  time.Time
	used   int
}

func (w *fixedWindow) room(now time.Time) int {
	if start := now.Truncate(w.length); !start.Equal(w.start) {
		w.start, w.used = start, 0
	}
	return w.size - w.used
}

func (w *fixedWindow) take(_ time.Time, n int) { w.used += n }

type slidingWindow struct {
	size   int
	length time.Duration
	uses   []use
	used   int
}

type use struct {
	at time.Time
	n  int
}

func (w *slidingWindow) room(now time.Time) int {
	old := 0
	for old < len(w.uses) && now.Sub(w.uses[old].at) >= w.length {
		w.used -= w.uses[old].n
		old++
	}
	w.uses = w.uses[old:]
	return w.size - w.used
}

func (w *slidingWindow) take(now time.Time, n int) {
	w.uses = append(w.uses, use{now, n})
	w.used += n
}

type bucketWindow struct {
	size   float64
	level  float64
	length time.Duration
	at     time.Time
}

func (w *bucketWindow) room(now time.Time) int {
	if !w.at.IsZero() {
		w.level = math.Min(w.size, w.level+w.size*float64(now.Sub(w.at))/float64(w.length))
	}
	w.at = now
	return int(w.level + 1e-6) // a token that is whole but for rounding is whole
}

func (w *bucketWindow) take(_ time.Time, n int) { w.level -= float64(n) }
