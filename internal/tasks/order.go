package tasks

import (
	"slices"
	"time"

	"crier/internal/gate"
)

// share is a job's place in the order of service: stride scheduling, in which
// a job's pass grows by targets over weight with each grant.
type share struct {
	job       string
	pass      float64
	queue     []*offer
	emptied   time.Time // when its last offer was granted or given up
	notBefore time.Time // its own rate allows nothing earlier
	served    bool      // it has had a grant
}

// memory is how long a job may be without an offer and yet keep what it is
// owed: its slots offer a few batches at a time, and change places.
const memory = 5 * time.Second

// acquaintance is how long a job may be without an offer and yet be no new one.
// Urgent jobs come in great numbers, and seldom have more than one offer.
func (d *dispatcher) acquaintance() time.Duration {
	if d.urgent {
		return memory
	}
	return 10 * time.Minute
}

// share returns a job's place in the order of service, a new one where it has none.
func (l *lane) share(job string) *share {
	if l.jobs[job] == nil {
		l.jobs[job] = &share{job: job, pass: l.clock}
	}
	return l.jobs[job]
}

// forget drops, once a minute, what is known of jobs that have long had no offer.
func (l *lane) forget(now time.Time) {
	if now.Sub(l.tidied) < time.Minute {
		return
	}
	l.tidied = now
	for job, s := range l.jobs {
		if len(s.queue) == 0 && now.Sub(s.emptied) > l.dispatcher.acquaintance() {
			delete(l.jobs, job)
		}
	}
}

// enqueue puts an offer at a place of its job's queue.
func (l *lane) enqueue(s *share, at int, o *offer) {
	s.queue = slices.Insert(s.queue, at, o)
	l.busy[s.job] = s
}

// stride is what a call costs its job in the order of service.
func (o *offer) stride() float64 { return float64(o.targets) / float64(max(o.weight, 1)) }

// drop takes the head off a queue, with all that hangs on it.
func (l *lane) drop(s *share, now time.Time) {
	s.queue[0] = nil
	if s.queue = s.queue[1:]; len(s.queue) == 0 {
		s.queue, s.emptied = nil, now
		delete(l.busy, s.job)
	}
}

// best returns the offer to serve next, or how long there is none. Offers that
// nobody waits for any more are dropped on the way.
func (l *lane) best(now time.Time) (*offer, *share, time.Duration) {
	l.forget(now)
	var best *share
	wait := idle
	for _, s := range l.busy {
		for len(s.queue) > 0 && s.queue[0].taken.Load() {
			l.drop(s, now)
		}
		switch {
		case len(s.queue) == 0: // it is no longer busy
		case s.notBefore.After(now):
			wait = min(wait, s.notBefore.Sub(now))
		default:
			l.advance(s)
			if best == nil || l.before(s, best) {
				best = s
			}
		}
	}
	if best == nil {
		return nil, nil, wait
	}
	return best.queue[0], best, 0
}

// before reports whether the head of one queue is to be served before that of
// another: new jobs first, then by what they have had for their weights.
func (l *lane) before(s, other *share) bool {
	o, p := s.queue[0], other.queue[0]
	switch {
	case l.prefers(o, p):
		return true
	case l.prefers(p, o):
		return false
	case s.served != other.served:
		return other.served
	default:
		return s.pass < other.pass
	}
}

// prefers reports whether o is to go rather than p, whosever they are.
func (l *lane) prefers(o, p *offer) bool {
	if l.held == gate.ReasonRejected {
		return o.likelier(p)
	}
	return l.retries < 1 && !o.retry && p.retry
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

// advance puts the offer that is to go first at the head of a queue.
func (l *lane) advance(s *share) {
	if l.held != gate.ReasonRejected && (l.retries >= 1 || !s.queue[0].retry) {
		return // it stands there already
	}
	at := 0
	for i, o := range s.queue {
		if !o.taken.Load() && l.prefers(o, s.queue[at]) {
			at = i
		}
	}
	o := s.queue[at]
	copy(s.queue[1:], s.queue[:at])
	s.queue[0] = o
}
