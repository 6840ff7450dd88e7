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
	jobs       map[string]*share
	clock      float64     // the pass of the job served last: new jobs start from here
	closed     time.Time   // the gate has said that nothing goes until then
	held       gate.Reason // why it has

	mu      sync.Mutex
	waiting []*offer      // that run has not heard of yet
	woken   chan struct{} // there are some
}

// share is a job's place in the order of service: stride scheduling, in which
// a job's pass grows by targets over weight with each grant.
type share struct {
	pass      float64
	queue     []*offer
	emptied   time.Time // when its last offer was granted or given up
	notBefore time.Time // its own rate allows nothing earlier
}

// memory is how long a job may be without an offer and yet keep what it is
// owed: its slots offer a few batches at a time, and change places.
const memory = 5 * time.Second

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
		grant, err := l.dispatcher.gate.Ask(ctx, string(l.targetType), costs(group)...)
		if err != nil {
			l.dispatcher.log.Warn("the gate cannot be asked, no calls go", "target_type", l.targetType, "error", err)
			grant = gate.Grant{Wait: time.Second}
			l.closed = time.Now().Add(grant.Wait)
		} else if grant.Calls < len(group) && !grant.Probe {
			l.closed = time.Now().Add(min(grant.Wait, recheck))
			if grant.Held == gate.ReasonRejected && grant.Wait <= recheck && !group[0].refused.IsZero() {
				l.closed = l.closed.Add(courtesy)
			}
		}
		l.held = grant.Held
		l.putBack(group[grant.Calls:])
		for _, o := range group[:grant.Calls] {
			l.clock = max(l.clock, o.pass)
			if !o.take() {
				l.dispatcher.unused(ctx, l.targetType, permit{probe: grant.Probe}) // withdrawn while the gate was asked
				continue
			}
			l.dispatcher.gateWait.Observe(time.Since(o.since).Seconds())
			o.granted(permit{probe: grant.Probe, held: grant.Held})
		}
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
	for _, s := range l.jobs {
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
		s.drop(time.Now())
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
		s.queue = slices.Insert(s.queue, 0, o)
		s.pass -= o.stride()
		l.dispatcher.release()
	}
}

// stride is what a call costs its job in the order of service.
func (o *offer) stride() float64 { return float64(o.targets) / float64(max(o.weight, 1)) }

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
		s.queue = append(s.queue, o)
	}
	clear(l.waiting)
	l.waiting = l.waiting[:0]
}

// share returns a job's place in the order of service, a new one where it has none.
func (l *lane) share(job string) *share {
	if l.jobs[job] == nil {
		l.jobs[job] = &share{pass: l.clock} // time without an offer is no credit
	}
	return l.jobs[job]
}

// drop takes the head off the queue.
func (s *share) drop(now time.Time) {
	if s.queue = s.queue[1:]; len(s.queue) == 0 {
		s.emptied = now
	}
}

// best returns the offer to serve next, or how long there is none. Offers that
// nobody waits for any more are dropped on the way.
func (l *lane) best(now time.Time) (*offer, *share, time.Duration) {
	var best *share
	wait := idle
	for job, s := range l.jobs {
		for len(s.queue) > 0 && s.queue[0].taken.Load() {
			s.drop(now)
		}
		switch {
		case len(s.queue) == 0:
			if now.Sub(s.emptied) > memory {
				delete(l.jobs, job)
			}
		case s.notBefore.After(now):
			wait = min(wait, s.notBefore.Sub(now))
		case l.held == gate.ReasonRejected:
			s.advance()
			if best == nil || s.queue[0].likelier(best.queue[0]) || !best.queue[0].likelier(s.queue[0]) && s.pass < best.pass {
				best = s
			}
		case best == nil || s.pass < best.pass:
			best = s
		}
	}
	if best == nil {
		return nil, nil, wait
	}
	return best.queue[0], best, 0
}

// likelier reports whether o rather than p would pass where the API refuses
// whatever is sent: one that it has not refused yet, nor a larger one of which it
// was a part, and else the one with the fewest targets that could be bad.
func (o *offer) likelier(p *offer) bool {
	switch {
	case o.refused.IsZero() || p.refused.IsZero():
		return !p.refused.IsZero()
	case o.tried != p.tried:
		return p.tried
	default:
		return o.targets < p.targets
	}
}

// advance puts the likeliest offer at the head of a queue.
func (s *share) advance() {
	at := 0
	for i, o := range s.queue {
		if !o.taken.Load() && o.likelier(s.queue[at]) {
			at = i
		}
	}
	o := s.queue[at]
	copy(s.queue[1:], s.queue[:at])
	s.queue[0] = o
}
