package tasks

import (
	"context"
	"sync"
	"time"

	"crier/internal/ledger"
)

// sweeper keeps running jobs running, whatever was lost. Every second one
// process of the fleet, or two, looks at all jobs that have not ended: it frees
// segments whose owners are gone, puts missing slot tokens back on the queue,
// starts jobs whose time has come, and ends what is left of those that were
// cancelled or have expired, or that were left loading. Everything it does may safely be done twice.
type sweeper struct {
	*Worker
	calm    time.Time // since when Redis has answered without a break
	last    time.Time // when the last sweep began
	audited time.Time // when this worker last looked for claims of its own that it has given up
	cursor  uint64    // of the walk over the job index
	joined  sync.WaitGroup
}

func newSweeper(w *Worker, calm time.Time) *sweeper { return &sweeper{Worker: w, calm: calm} }

const sweepEvery = time.Second

// run sweeps until the worker drains, and returns when the jobs it has joined
// are let go.
func (s *sweeper) run() {
	defer s.joined.Wait()
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.draining.Done():
			return
		case <-tick.C:
		}
		ctx, cancel := context.WithTimeout(s.draining, 10*time.Second)
		if err := s.sweep(ctx); err != nil {
			s.calm = time.Time{}
			if s.draining.Err() == nil {
				s.log.Warn("a sweep failed, the next one follows", "error", err)
			}
		}
		cancel()
	}
}

func (s *sweeper) sweep(ctx context.Context) error {
	began := time.Now()
	alive, err := s.ledger.Alive(ctx)
	if err == nil {
		err = s.setClock(ctx)
	}
	if err != nil {
		return err
	}
	// An answer that is late, or the first after a pause, may be older than
	// beats that are on their way: then the living are heard first.
	if s.calm.IsZero() || time.Since(began) > sweepEvery/2 || began.Sub(s.last) > 2*sweepEvery && !s.last.IsZero() {
		s.calm = time.Now()
	}
	s.last = began
	// The lock lapses well before the next tick, also of one who was late with it:
	// whoever comes first then has it.
	mine, err := s.ledger.TryLock(ctx, "sweeper", sweepEvery/2)
	audit := began.Sub(s.audited) > auditEvery
	if err != nil || !mine && !audit {
		return err
	}
	active, ended, err := s.ledger.Active(ctx)
	for _, id := range ended {
		s.tellEnd(ctx, id)
	}
	if err != nil {
		return err
	}
	if audit {
		s.audited = began
		if err := s.audit(ctx, active); err != nil || !mine {
			return err
		}
	}
	oldest := map[bool]time.Time{}
	for _, urgent := range []bool{false, true} {
		if oldest[urgent], err = s.queue.oldest(ctx, urgent); err != nil {
			return err
		}
	}
	for _, p := range active {
		if err := s.tend(ctx, p, alive, oldest[p.Job.Urgent]); err != nil {
			s.log.Warn("a job could not be looked after", "job", p.Job.ID, "error", err)
			if ctx.Err() != nil {
				return err
			}
		}
	}
	s.cursor, err = s.ledger.Trim(ctx, s.cursor)
	return err
}

// auditEvery is how often each worker looks after its own claims.
const auditEvery = 5 * time.Second

// audit frees segments that are held in this worker's name and forgotten by it,
// and lets the worker join jobs that have work left and no slot of it: at the
// queue, another one may be the first at every token.
func (s *sweeper) audit(ctx context.Context, active []ledger.Progress) error {
	for _, p := range active {
		for segment, claim := range s.ledger.Forgotten(p) {
			freed, err := s.ledger.Free(ctx, p.Job.ID, segment, claim)
			if err != nil {
				return err
			}
			if freed {
				s.log.Warn("Redis still had a claim that was given up, its segment is free again", "job", p.Job.ID, "segment", segment)
			}
		}
		if p.Job.State == ledger.StateRunning && p.Due > 0 && s.present.mayJoin(p.Job.ID, bulkSlots) {
			s.log.Debug("a job is joined without a token", "job", p.Job.ID)
			s.joined.Go(func() {
				if err := s.work(s.recording, p.Job.ID); err != nil {
					s.log.Warn("a job could not be joined", "job", p.Job.ID, "error", err)
				}
			})
		}
	}
	return nil
}

// tend looks after one job.
func (s *sweeper) tend(ctx context.Context, p ledger.Progress, alive []string, oldest time.Time) error {
	working := len(p.Held)
	if s.mayFree() {
		for segment, claim := range p.Abandoned(alive) {
			freed, err := s.ledger.Free(ctx, p.Job.ID, segment, claim)
			if err != nil {
				return err
			}
			if freed {
				s.log.Warn("a worker is gone, its segment is free again", "job", p.Job.ID, "segment", segment)
				working--
				p.Due++
			}
		}
	}
	soon := s.clock().Add(sweepEvery) // whether a time has come is for Redis to decide
	if p.Job.State == ledger.StateLoading {
		return s.tendLoading(ctx, p.Job, soon)
	}
	if p.Job.State == ledger.StateCancelled || p.Job.Expired(soon) {
		if over, err := s.settle(ctx, p.Job); err != nil || over {
			return err
		}
	}
	switch {
	case p.Job.State == ledger.StateScheduled && !p.Job.SendAt.After(soon):
		started, err := s.ledger.Start(ctx, p.Job.ID)
		if err != nil || !started {
			return err
		}
		s.log.Info("a scheduled job starts", "job", p.Job.ID)
		return s.putTokens(ctx, p.Job, maxTokens)
	case p.Job.State == ledger.StateRunning && s.lacksTokens(p, oldest):
		return s.putTokens(ctx, p.Job, min(p.Due, len(alive)*s.slotsPerJob()-working))
	}
	return nil
}

// tendLoading ends a job that was begun and to which nothing was added for too long.
func (s *sweeper) tendLoading(ctx context.Context, job ledger.Job, soon time.Time) error {
	if !job.Idle(soon) {
		return nil
	}
	over, err := s.settle(ctx, job)
	if over {
		s.log.Info("a job has ended that was loading: nothing was added to it for long", "job", job.ID, "name", job.Name)
	}
	return err
}

// lacksTokens reports whether a job may have lost slot tokens. Those that were put
// on the queue before its oldest have all been taken: if the job then has due
// segments and too few slots, some were lost, or became fewer when there was
// little to do.
func (s *sweeper) lacksTokens(p ledger.Progress, oldest time.Time) bool {
	const settle = sweepEvery / 2 // from taking a token to claiming a segment
	taken := p.TokensAt.Add(settle)
	fromTomorrow := p.TokensAt.After(time.Now().Add(settle)) // by a clock that is wrong: it says nothing
	return fromTomorrow || !taken.After(oldest) && !taken.After(time.Now())
}

// mayFree reports whether Redis has answered long enough for a living owner to
// have been heard.
func (s *sweeper) mayFree() bool { return time.Since(s.calm) > s.ledger.OwnerTTL() }

func (s *sweeper) putTokens(ctx context.Context, job ledger.Job, n int) error {
	if n <= 0 {
		return nil
	}
	s.log.Debug("slot tokens are put on the queue", "job", job.ID, "tokens", n)
	if err := s.queue.PutTokens(ctx, job.ID, job.Urgent, n); err != nil {
		return err
	}
	return s.ledger.NoteTokens(ctx, job.ID, time.Now())
}
