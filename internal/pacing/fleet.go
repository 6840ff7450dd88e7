package pacing

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"crier/internal/gate"
)

// Fleet is the workers of a run. Their demand has no end.
type Fleet struct {
	Workers int
	Places  int // calls in flight of one worker, at most
	Batch   Range
	// Urgent is the time between two calls with a single target that wait behind
	// no bulk and have urgentPlaces of their own; 0 = there are none. The workers
	// take turns.
	Urgent time.Duration
}

// Range is the numbers of targets that batches have, evenly spread; Most = 0
// stands for Least.
type Range struct{ Least, Most int }

// draw is the next batch.
func (r Range) draw(chance *rand.Rand) int {
	if r.Most <= r.Least {
		return r.Least
	}
	return r.Least + chance.IntN(r.Most-r.Least+1)
}

// What the dispatcher does, in numbers (tasks: lane).
const (
	mostAsked    = 64                     // calls that one question is for
	recheck      = 200 * time.Millisecond // a hold may end early
	soonest      = 20 * time.Millisecond  // the next question of bulk calls, where not all were granted
	shortest     = time.Millisecond       // the next one of urgent calls
	urgentPlaces = 8
)

// away is what the dispatcher tells the gate of a call that did not reach the API.
var away = gate.Hold{Reason: gate.ReasonOutage, Row: 10, Few: 10 * time.Second, Base: 5 * time.Second, Max: 5 * time.Second}

// pacer is what a fleet asks before it calls: the gate, or what a test compares it with.
type pacer interface {
	Ask(ctx context.Context, targetType string, urgent bool, targets ...int) (gate.Grant, error)
	Accepted(targetType string, ticket gate.Ticket, targets int)
	Throttled(ctx context.Context, targetType string, t gate.Throttle) (time.Duration, error)
	Passed(ctx context.Context, targetType string, probe bool) error
	Report(ctx context.Context, targetType string, probe bool, h gate.Hold) (time.Duration, error)
	InRow(targetType string) bool
}

// batch is the targets of a call, until it is accepted.
type batch struct {
	targets int
	due     time.Duration // when an urgent one came up
}

// lane is one worker's bulk calls, or its urgent ones.
type lane struct {
	*run
	pacer  pacer
	urgent bool
	places int // free ones
	queue  []batch
	closed time.Duration // the gate has said that nothing goes until then
	asking bool          // the next question is planned
}

// wake plans a question, for as soon as the gate wants to hear one.
func (l *lane) wake() {
	if !l.asking {
		l.asking = true
		l.clock.after(max(l.closed-l.clock.now, 0), l.ask)
	}
}

// ask asks for as many calls as there are places for, and makes those that are granted.
func (l *lane) ask() error {
	l.asking = false
	most := min(l.places, mostAsked)
	for !l.urgent && len(l.queue) < most {
		l.queue = append(l.queue, batch{targets: l.scenario.Fleet.Batch.draw(l.sizes)})
	}
	group := l.queue[:min(most, len(l.queue))]
	if len(group) == 0 {
		return nil
	}
	targets := make([]int, len(group))
	for i, b := range group {
		targets[i] = b.targets
	}
	l.result.Asked++
	grant, err := l.pacer.Ask(l.ctx, l.scenario.targetType(), l.urgent, targets...)
	if err != nil {
		return err
	}
	if grant.Calls < 0 || grant.Calls > len(group) || grant.Probe && grant.Calls != 1 {
		return fmt.Errorf("pacing: of %d calls the gate grants %+v", len(group), grant)
	}
	if grant.Calls < len(group) && !grant.Probe {
		soonest := soonest
		if l.urgent {
			soonest = shortest
		}
		l.closed = l.clock.now + min(max(grant.Wait, soonest), recheck)
	}
	l.send(grant, slices.Clone(group[:grant.Calls]))
	if len(l.queue) > 0 || !l.urgent {
		l.wake()
	}
	return nil
}

// send makes granted calls, the first ones of the queue. The last one may have
// to leave some of its targets to the next.
func (l *lane) send(grant gate.Grant, calls []batch) {
	l.queue = l.queue[len(calls):]
	if last := len(calls) - 1; last >= 0 && 0 < grant.Last && grant.Last < calls[last].targets {
		rest := calls[last]
		rest.targets -= grant.Last
		calls[last].targets = grant.Last
		l.queue = slices.Insert(l.queue, 0, rest)
	}
	for _, b := range calls {
		l.places--
		sent, delay := l.clock.now, l.server.delay()
		l.clock.after(delay/2, func() error {
			verdict := l.server.decide(l.clock.now, b.targets)
			l.result.Calls = append(l.result.Calls, Call{At: l.clock.now, Targets: b.targets, Verdict: verdict, Urgent: l.urgent})
			l.clock.after(delay-delay/2, func() error { return l.answered(grant, b, verdict, sent) })
			return nil
		})
	}
}

// answered tells the gate what became of a call.
func (l *lane) answered(grant gate.Grant, b batch, verdict Verdict, sent time.Duration) (err error) {
	targetType := l.scenario.targetType()
	l.places++
	switch verdict {
	case Accepted:
		l.pacer.Accepted(targetType, grant.Ticket, b.targets)
		if grant.Probe || l.pacer.InRow(targetType) {
			err = l.pacer.Passed(l.ctx, targetType, grant.Probe)
		}
		if l.urgent {
			l.result.Waits = append(l.result.Waits, Wait{Due: b.due, Wait: sent - b.due})
		}
	case RefusedCalls, RefusedTargets:
		t := gate.Throttle{
			Ticket: grant.Ticket, Scope: gate.ScopeCalls, Probe: grant.Probe, Asked: l.server.RetryAfter,
		}
		if verdict == RefusedTargets {
			t.Scope = gate.ScopeTargets
		}
		_, err = l.pacer.Throttled(l.ctx, targetType, t)
	case Unreached:
		_, err = l.pacer.Report(l.ctx, targetType, grant.Probe, away)
	}
	if verdict != Accepted {
		l.queue = slices.Insert(l.queue, 0, b)
	}
	l.wake()
	return err
}
