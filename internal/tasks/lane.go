package tasks

import (
	"context"
	"slices"
	"sync"
	"time"

	"crier/internal/apiclient"
	"crier/internal/gate"
)

// lane is the waiting batches of one target type.
type lane struct {
	dispatcher *dispatcher
	targetType apiclient.TargetType
	jobs       map[string]*share // all that are known
	busy       map[string]*share // those with offers
	tidied     time.Time         // see forget
	clock      float64           // the pass of the job served last: new jobs start from here
	retries    float64           // calls with failed targets that may go before others: see before
	closed     time.Time         // the gate has said that nothing goes until then
	held       gate.Reason       // why it has
	alone      seldom            // it could not be asked
	tasted     time.Time         // when a new job was last let go ahead

	mu      sync.Mutex
	waiting []*offer      // that run has not heard of yet
	woken   chan struct{} // there are some
}

// run serves the lane until ctx ends.
func (l *lane) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		wait := l.serve(ctx)
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-l.woken:
		case <-timer.C:
		}
	}
}

// offer adds an offer to those that wait. It does not wait itself.
func (l *lane) offer(o *offer) {
	l.mu.Lock()
	l.waiting = append(l.waiting, o)
	l.mu.Unlock()
	select {
	case l.woken <- struct{}{}:
	default:
	}
}

const (
	idle = time.Hour // nothing to do until an offer comes
	// A hold may end early, when the probe of any process comes back well.
	recheck = 200 * time.Millisecond
)

// wait is when to ask again after a grant that says so. Bulk calls can do with
// fewer questions: whoever comes late may catch up.
func (d *dispatcher) wait(told time.Duration) time.Duration {
	if d.urgent {
		return min(told, recheck)
	}
	return min(max(told, soonest), recheck)
}

// soonest is the shortest time between two questions that were not answered with all calls.
const soonest = 20 * time.Millisecond

// courtesy is how long a lane that has nothing but what was refused leaves a
// probe to others, whose calls are likelier to pass: the urgent ones, perhaps.
const courtesy = time.Second

// mostAsked is how many calls one question is for.
const mostAsked = 64

// serve gives grants while it can, and returns when to try again.
func (l *lane) serve(ctx context.Context) time.Duration {
	for {
		l.takeWaiting()
		if wait := time.Until(l.closed); wait > 0 {
			return wait
		}
		if o, _, wait := l.best(time.Now()); o == nil {
			return wait
		}
		if l.place(ctx) != nil {
			return idle
		}
		l.takeWaiting() // the best of all is chosen, not the first
		group := l.pick(ctx)
		if len(group) == 0 {
			continue // all wait for the caps of their jobs
		}
		grant := l.ask(ctx, group)
		if grant.Calls < len(group) && !grant.Probe {
			l.closed = time.Now().Add(l.dispatcher.wait(grant.Wait))
			if grant.Held == gate.ReasonRejected && grant.Wait <= recheck && !group[0].refused.IsZero() {
				l.closed = l.closed.Add(courtesy)
			}
		}
		l.held = grant.Held
		l.putBack(group[grant.Calls:])
		for i, o := range group[:grant.Calls] {
			l.clock = max(l.clock, o.pass)
			l.count(o)
			p := permit{targets: o.targets, probe: grant.Probe, held: grant.Held, ticket: grant.Ticket}
			if i == grant.Calls-1 {
				p.targets = grant.Last
			}
			if !o.take() {
				l.dispatcher.unused(ctx, l.targetType, p) // withdrawn while the gate was asked
				continue
			}
			p.waited = time.Since(o.since)
			l.dispatcher.gateWait.Observe(p.waited.Seconds())
			o.granted(p)
		}
	}
}

// ask asks the gate for calls with a group of offers.
func (l *lane) ask(ctx context.Context, group []*offer) gate.Grant {
	d, t := l.dispatcher, string(l.targetType)
	grant, err := d.gate.Ask(ctx, t, d.urgent, costs(group)...)
	if newcomer := !l.share(group[0].job).served; err == nil && newcomer && grant.Calls == 0 && grant.Wait > recheck && !d.urgent && time.Since(l.tasted) > time.Second {
		l.tasted = time.Now()
		grant, err = d.gate.Ask(ctx, t, true, min(group[0].targets, taste))
	}
	if err != nil && ctx.Err() == nil && l.alone.due() {
		d.log.Warn("the gate cannot be asked, this worker keeps to its last share", "target_type", l.targetType, "error", err)
	}
	return grant
}

// taste is how many targets of a new job may go where its first call would have
// to wait: so its sender soon sees whether all is well.
const taste = 10

// retriesPerCall is how many calls with failed targets may go for each other one
// that waits: so they are a tenth of all at most, however much fails.
const retriesPerCall = 1.0 / 9

// count notes a grant.
func (l *lane) count(o *offer) {
	l.share(o.job).served = true
	if o.retry {
		l.retries = max(l.retries-1, 0)
	} else {
		l.retries = min(l.retries+retriesPerCall, 4)
	}
}

// linger is how long a place in flight may stay free while others are waited
// for, and an answer unrecorded while others are on their way: a round trip to
// Redis costs as much for one call as for several.
const linger = 2 * time.Millisecond

// place takes one place in flight. Where there is use for several, and some are
// taken, it gives others a moment to become free too.
func (l *lane) place(ctx context.Context) error {
	places, several := l.dispatcher.places, 0
	for _, s := range l.busy {
		several += len(s.queue)
	}
	several = min(several, l.dispatcher.group)
	if several > 1 {
		soon, cancel := context.WithTimeout(ctx, linger)
		defer cancel()
		if places.Acquire(soon, int64(several)) == nil {
			places.Release(int64(several) - 1)
			return nil
		}
	}
	return places.Acquire(ctx, 1)
}

// pick takes the best offers off their queues, one for the place in flight that
// is taken already and one for each further one that is free.
func (l *lane) pick(ctx context.Context) (group []*offer) {
	for place := true; place; {
		o, s, _ := l.best(time.Now())
		probe := l.held == gate.ReasonRejected && len(group) > 0
		if o == nil || probe || len(group) == mostAsked || o.maxRate > 0 && slices.ContainsFunc(group, func(p *offer) bool { return p.job == o.job }) {
			l.dispatcher.release()
			return group
		}
		if !l.within(ctx, o, s) {
			continue
		}
		l.drop(s, time.Now())
		o.pass = s.pass
		s.pass += o.stride()
		group = append(group, o)
		place = l.dispatcher.places.TryAcquire(1)
	}
	return group
}

// putBack gives up places in flight and what was picked for them, the last first.
func (l *lane) putBack(group []*offer) {
	for _, o := range slices.Backward(group) {
		s := l.share(o.job)
		l.enqueue(s, 0, o)
		s.pass -= o.stride()
		l.dispatcher.release()
	}
}

func costs(group []*offer) []int {
	targets := make([]int, len(group))
	for i, o := range group {
		targets[i] = o.targets
	}
	return targets
}

// within asks for the job's own cap, which comes first: so a capped job takes
// nothing from the common quota that it cannot use.
func (l *lane) within(ctx context.Context, o *offer, s *share) bool {
	if o.maxRate == 0 || o.paid {
		return true
	}
	grant, err := l.dispatcher.gate.AskRate(ctx, o.job, o.targets, o.maxRate)
	if err != nil {
		l.dispatcher.log.Warn("the gate cannot be asked for the cap of a job", "job", o.job, "error", err)
		grant.Wait = time.Second
	}
	if o.paid = err == nil && grant.Calls > 0; !o.paid {
		s.notBefore = time.Now().Add(grant.Wait)
	}
	return o.paid
}

// takeWaiting puts the offers that wait into the queues of their jobs.
func (l *lane) takeWaiting() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range l.waiting {
		s := l.share(o.job)
		if len(s.queue) == 0 && time.Since(s.emptied) > memory {
			s.pass = max(s.pass, l.clock) // time without an offer is no credit
		}
		l.enqueue(s, len(s.queue), o)
	}
	clear(l.waiting)
	l.waiting = l.waiting[:0]
}
