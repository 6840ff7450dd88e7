package tasks

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"crier/internal/apiclient"
	"crier/internal/gate"
)

// dispatcher decides whose call goes next. Slots offer batches; for each
// target type one lane asks the gate for one grant at a time and gives it to
// the best waiting batch: that of the job which has had the least for its
// weight. So shares, rates of single jobs and holds are decided at the moment
// of the grant, in one place.
type dispatcher struct {
	gate    *gate.Gate
	calls   chan struct{} // one for each call in flight
	lanes   map[apiclient.TargetType]*lane
	metrics *metrics
	log     *slog.Logger
	name    string // priority, for metrics
}

// offer is a batch that waits for its grant.
type offer struct {
	job     string
	weight  int
	maxRate int
	targets int

	granted chan pass
	taken   atomic.Bool // by a grant, or by the one who offered and waits no longer
}

// pass is the permission to make one call.
type pass struct {
	probe bool        // the gate waits for this call's answer
	held  gate.Reason // what the probe is to find out
}

func newDispatcher(ctx context.Context, g *gate.Gate, name string, calls int, m *metrics, log *slog.Logger) *dispatcher {
	d := &dispatcher{
		gate: g, calls: make(chan struct{}, calls), lanes: map[apiclient.TargetType]*lane{},
		metrics: m, log: log, name: name,
	}
	for _, t := range apiclient.TargetTypes() {
		l := &lane{dispatcher: d, targetType: t, offers: make(chan *offer), jobs: map[string]*share{}}
		d.lanes[t] = l
		go l.run(ctx)
	}
	return d
}

// acquire waits until a call with these targets may go, or ctx ends. The call
// occupies one of the dispatcher's places until release.
func (d *dispatcher) acquire(ctx context.Context, t apiclient.TargetType, o *offer) (pass, error) {
	asked := time.Now()
	o.granted = make(chan pass, 1)
	select {
	case d.lanes[t].offers <- o:
	case <-ctx.Done():
		return pass{}, ctx.Err()
	}
	select {
	case <-ctx.Done():
		if o.taken.CompareAndSwap(false, true) {
			return pass{}, ctx.Err()
		}
	case p := <-o.granted:
		d.metrics.gateWait.WithLabelValues(d.name).Observe(time.Since(asked).Seconds())
		return p, nil
	}
	return <-o.granted, nil // granted at the same moment: it is paid for, so it is used
}

func (d *dispatcher) release() { <-d.calls }

// unused gives a pass back with which no call was made.
func (d *dispatcher) unused(ctx context.Context, t apiclient.TargetType, p pass) {
	if !p.probe {
		return // the quota is charged, a little is wasted
	}
	if err := d.gate.Unused(ctx, string(t)); err != nil {
		d.log.Warn("the gate waits for a probe that was not made", "target_type", t, "error", err)
	}
}

// lane is the waiting batches of one target type.
type lane struct {
	dispatcher *dispatcher
	targetType apiclient.TargetType
	offers     chan *offer
	jobs       map[string]*share
	clock      float64   // the pass of the job served last: new jobs start from here
	closed     time.Time // the gate has said that nothing goes until then
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
		case o := <-l.offers:
			l.add(o)
		case <-timer.C:
		}
	}
}

const (
	idle = time.Hour // nothing to do until an offer comes
	// A hold may end early, when the probe of any process comes back well.
	recheck = 200 * time.Millisecond
)

// serve gives grants while it can, and returns when to try again.
func (l *lane) serve(ctx context.Context) time.Duration {
	for {
		l.takeWaiting()
		if wait := time.Until(l.closed); wait > 0 {
			return wait
		}
		o, s, wait := l.best(time.Now())
		if o == nil {
			return wait
		}
		select {
		case l.dispatcher.calls <- struct{}{}:
		case another := <-l.offers:
			l.add(another)
			continue
		case <-ctx.Done():
			return idle
		}
		grant, err := l.ask(ctx, o, s)
		if err != nil {
			l.dispatcher.release()
			l.dispatcher.log.Warn("the gate cannot be asked, no calls go", "target_type", l.targetType, "error", err)
			l.closed = time.Now().Add(time.Second)
			continue
		}
		if !grant.Go {
			l.dispatcher.release()
			if s.notBefore.After(time.Now()) {
				continue // the cap of one job: another may go
			}
			l.closed = time.Now().Add(min(grant.Wait, recheck))
			continue
		}
		s.drop(time.Now())
		l.clock = max(l.clock, s.pass)
		s.pass += float64(o.targets) / float64(max(o.weight, 1))
		if !o.taken.CompareAndSwap(false, true) {
			l.dispatcher.release() // given up while the gate was asked: the grant is lost
			l.dispatcher.unused(ctx, l.targetType, pass{probe: grant.Probe})
			continue
		}
		o.granted <- pass{probe: grant.Probe, held: grant.Held}
	}
}

// ask asks for the job's own cap first, so that a capped job takes nothing
// from the common quota that it cannot use.
func (l *lane) ask(ctx context.Context, o *offer, s *share) (gate.Grant, error) {
	if o.maxRate > 0 && !s.notBefore.Equal(paid) {
		grant, err := l.dispatcher.gate.AskRate(ctx, o.job, o.targets, o.maxRate)
		if err != nil {
			return grant, err
		}
		if !grant.Go {
			s.notBefore = time.Now().Add(grant.Wait)
			return grant, nil
		}
		s.notBefore = paid // until the common grant comes
	}
	grant, err := l.dispatcher.gate.Ask(ctx, string(l.targetType), o.targets)
	if err == nil && grant.Go {
		s.notBefore = time.Time{}
	}
	return grant, err
}

// paid marks a job whose own cap has granted the batch at the head of its queue.
var paid = time.Unix(1, 0)

// takeWaiting hears all offers that are there already, so that the best of
// them is chosen, not the first.
func (l *lane) takeWaiting() {
	for {
		select {
		case o := <-l.offers:
			l.add(o)
		default:
			return
		}
	}
}

func (l *lane) add(o *offer) {
	s := l.jobs[o.job]
	if s == nil {
		s = &share{pass: l.clock} // time without an offer is no credit
		l.jobs[o.job] = s
	}
	s.queue = append(s.queue, o)
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
		case best == nil || s.pass < best.pass:
			best = s
		}
	}
	if best == nil {
		return nil, nil, wait
	}
	return best.queue[0], best, 0
}
