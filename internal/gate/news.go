package gate

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Scope is what a quota counts.
type Scope string

// The scopes.
const (
	ScopeCalls   Scope = "calls"
	ScopeTargets Scope = "targets"
)

// Ticket says under which rates calls were granted, so that their answers are
// not taken for answers to later ones.
type Ticket struct{ calls, targets int64 }

// news is what a process has heard from the API since it last asked the gate
// for calls of a target type. It goes with the next question: so a success costs
// no round trip of its own.
type news struct {
	mu sync.Mutex
	told
	trip time.Duration // of a question and its answer, smoothed
	share
	failure error     // of the last question
	again   time.Time // when to ask again after it
}

// told are calls that were accepted.
type told struct {
	calls, targets int64 // all of them
	ticket         Ticket
	inCalls        int64    // of the ticket's round in calls
	inTargets      [2]int64 // calls and targets of its round in targets
}

func (g *Gate) newsOf(targetType string) *news {
	n, _ := g.news.LoadOrStore(targetType, new(news))
	return n.(*news)
}

// Accepted tells the gate of a call that was answered with a success. It makes
// no round trip.
func (g *Gate) Accepted(targetType string, t Ticket, targets int) {
	n := g.newsOf(targetType)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.add(told{
		calls: 1, targets: int64(targets), ticket: t, inCalls: 1, inTargets: [2]int64{1, int64(targets)},
	})
}

// add sums up, but for what belongs to rounds that are over.
func (a *told) add(b told) {
	a.calls += b.calls
	a.targets += b.targets
	if b.ticket.calls > a.ticket.calls {
		a.ticket.calls, a.inCalls = b.ticket.calls, 0
	}
	if b.ticket.calls == a.ticket.calls {
		a.inCalls += b.inCalls
	}
	if b.ticket.targets > a.ticket.targets {
		a.ticket.targets, a.inTargets = b.ticket.targets, [2]int64{}
	}
	if b.ticket.targets == a.ticket.targets {
		a.inTargets[0] += b.inTargets[0]
		a.inTargets[1] += b.inTargets[1]
	}
}

// args are what grant.lua reads for each pace.
func (a told) args() []any {
	return []any{a.calls, a.ticket.calls, a.inCalls, a.inCalls, a.targets, a.ticket.targets, a.inTargets[0], a.inTargets[1]}
}

// take returns what is to be told now.
func (n *news) take() (t told) {
	n.mu.Lock()
	defer n.mu.Unlock()
	t, n.told = n.told, told{}
	return t
}

// putBack keeps what could not be told.
func (n *news) putBack(t told) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.add(t)
}

// heard notes an answer of the gate to a question that was asked then.
func (n *news) heard(now, asked time.Time, grant Grant, targets []int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.trip += (now.Sub(asked) - n.trip) / 8
	n.note(now, grant, targets)
}

// askAgain is how long a process goes by its share before it asks again.
const askAgain = 3 * time.Second

// failed notes a question without an answer.
func (n *news) failed(now time.Time, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.failure, n.again = err, now.Add(askAgain)
}

// unheard is why the gate is not to be asked now; nil where it is.
func (n *news) unheard(now time.Time) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !now.Before(n.again) {
		return nil
	}
	return n.failure
}

// alone is what may go without an answer of the gate.
func (n *news) alone(now time.Time, urgent bool, targets []int) Grant {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.grant(now, urgent, targets)
}

// late is how late a grant may come for the way to Redis and back, at most half a second.
func (n *news) late() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return min(n.trip, time.Second/2)
}

// Throttle is a call that was refused for a quota.
type Throttle struct {
	Ticket Ticket
	Scope  Scope         // what the quota counts
	Probe  bool          // the call was one
	Asked  time.Duration // what the API asked for, 0 = nothing: calls are held at least as long
}

// Throttled tells the gate of a call that was refused for a quota, and returns
// how long calls are held for it; 0 where they are not: a few refused calls among
// others that pass say no more than that the pace may be too fast.
func (g *Gate) Throttled(ctx context.Context, targetType string, t Throttle) (time.Duration, error) {
	probe, round := "", t.Ticket.calls
	if t.Probe {
		probe = "1"
	}
	if t.Scope == ScopeTargets {
		round = t.Ticket.targets
	}
	keys := []string{g.key(targetType, "state"), g.key(targetType, string(t.Scope))}
	us, err := throttleScript.Run(ctx, g.client, keys, g.now(), probe, round, t.Asked.Microseconds()).Int64()
	if err != nil {
		return 0, fmt.Errorf("gate: throttled: %w", err)
	}
	return time.Duration(us) * time.Microsecond, nil
}
