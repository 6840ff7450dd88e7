package tasks

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/hibiken/asynq"

	"crier/internal/ledger"
)

const (
	// slice is how long a slot works for a job before it goes back to the end
	// of the queue, if others wait there for their turn.
	slice = 3 * time.Second
	// longestStay is how long it works if nobody waits: below tokenTimeout.
	longestStay = 10 * time.Minute
	// window is how many batches of a segment are offered at once: enough that a
	// job does not run out of offers while a quota lets many calls go together.
	window = 32
)

// slot works on one job for one slice: it claims a segment, delivers it, and
// claims the next.
type slot struct {
	*Worker
	job      ledger.Job
	document Document
	dispatch *dispatcher
	over     context.Context // ended: the job does not run any more
	stop     context.Context // ended: make no new calls
	log      *slog.Logger
	once     sync.Once // for what is said of a job's end
}

// handle is the asynq handler of a slot token. Whether the token was real,
// spare, or served before does not matter: the ledger knows what is left.
func (w *Worker) handle(ctx context.Context, task *asynq.Task) error {
	return w.work(ctx, string(task.Payload()))
}

// work is a slot's time at a job.
func (w *Worker) work(ctx context.Context, id string) error {
	here := w.present.enter(id, w.slotsPerJob())
	if here == nil {
		return nil // more would take the job's segments from other workers
	}
	defer w.present.leave(here)
	job, err := w.ledger.Job(ctx, id)
	if errors.Is(err, ledger.ErrNotFound) || err == nil && job.State != ledger.StateRunning {
		return nil // a spare token
	}
	var text []byte
	if err == nil {
		text, err = w.ledger.Document(ctx, id)
	}
	if errors.Is(err, ledger.ErrNotFound) {
		return nil // finished meanwhile
	}
	if err != nil {
		return err // asynq brings the token back in a second
	}
	document, err := ParseDocument(text)
	if err != nil {
		w.log.Error("a stored job cannot be read", "job", id, "error", err)
		return err
	}
	stop, cancel := context.WithTimeout(ctx, longestStay)
	defer cancel()
	defer context.AfterFunc(w.draining, cancel)()
	defer context.AfterFunc(here.over, cancel)()
	go w.endSlice(stop, cancel, job.Urgent)
	s := &slot{
		Worker: w, job: job, document: document, dispatch: w.bulk, over: here.over, stop: stop,
		log: w.log.With("job", id),
	}
	if job.Urgent {
		s.dispatch = w.urgent
	}
	// A token that asynq has taken away is not ours to put back: it comes back by itself.
	if left := s.turn(); left && ctx.Err() == nil && here.over.Err() == nil {
		return w.queue.PutTokens(context.WithoutCancel(ctx), id, job.Urgent, 1)
	}
	return nil
}

// slotsPerJob is how many slots of one process a job can use: as many as fill
// its calls in flight, and one more that is between two segments.
func (w *Worker) slotsPerJob() int {
	if w.present.count() > bulkSlots/4 { // many jobs: each is to have one
		return 1
	}
	return (w.cfg.Concurrency+window-1)/window + 1
}

// endSlice ends a slot's time when a slice is over and others wait for slots.
func (w *Worker) endSlice(stop context.Context, end context.CancelFunc, urgent bool) {
	tick := time.NewTicker(slice)
	defer tick.Stop()
	for {
		select {
		case <-stop.Done():
			return
		case <-tick.C:
		}
		if waiting, err := w.queue.waiting(stop, urgent); err != nil || waiting {
			end()
			return
		}
	}
}

// turn claims and delivers segments until none is due or the slot's time is
// over; then it reports that there may be more. Of a job whose own time is over
// nothing is to be delivered.
func (s *slot) turn() (left bool) {
	for s.stop.Err() == nil {
		if s.job.Expired(s.clock()) {
			return false
		}
		segment, err := s.claim()
		if err != nil {
			s.log.Error("no segment could be claimed", "error", err)
			return !errors.Is(err, ledger.ErrNotFound) && !errors.Is(err, ledger.ErrDamaged)
		}
		if segment == nil {
			return false
		}
		s.deliver(segment)
	}
	return true
}

// claim repeats a failed claim with the same token until Redis has answered:
// giving up would leave a segment that is claimed by the living and worked on
// by nobody.
func (s *slot) claim() (*ledger.Segment, error) {
	token := s.ledger.Token()
	for {
		segment, _, err := s.ledger.Claim(s.recording, s.job, token)
		if segment != nil && segment.First {
			s.tellStart()
		}
		if err == nil || errors.Is(err, ledger.ErrNotFound) || errors.Is(err, ledger.ErrDamaged) || s.recording.Err() != nil {
			return segment, err
		}
		s.log.Warn("a claim failed and is repeated", "error", err)
		pause(s.recording, time.Second)
	}
}

// deliver sends the pending targets of a segment and releases it. Where no more
// is to be sent, it ends what is left.
func (s *slot) deliver(segment *ledger.Segment) {
	delay := time.Duration(0)
	defer func() { // in a panic, too
		s.release(segment, delay)
		s.conclude(segment.JobState())
	}()
	todo, err := s.takeOver(segment)
	if err != nil {
		s.log.Warn("a segment's claim is lost, others go on with it", "segment", segment.Name, "error", err)
		return
	}
	c, err := newCampaign(s.document, s.inForce.Load())
	if err != nil {
		s.unfit(segment, err)
		delay = putOff
		return
	}
	delay = newDelivery(s, segment, &c, todo).run()
}

// conclude follows a segment's release: where the job was cancelled or its time
// has passed, what is left of it is ended, and where it does not run any more, so
// do the other slots.
func (s *slot) conclude(state ledger.State) {
	s.heed(s.job.ID, state)
	if state != ledger.StateCancelled && s.over.Err() == nil && !s.job.Expired(s.clock()) {
		return
	}
	if _, err := s.settle(s.recording, s.job); err != nil {
		s.log.Warn("the sweeper will end what is left of a job", "error", err)
	}
}

// putOff is how long targets wait that fit no call: limits were lowered since
// the job was taken in, and may be raised again.
const putOff = time.Minute

func (s *slot) unfit(segment *ledger.Segment, err error) {
	s.metrics.batches.WithLabelValues(s.job.TargetType, "unfit").Inc()
	s.log.Error("the message leaves no room for a target in the limits of today", "segment", segment.Name, "error", err)
}

// release gives the segment up, come what may: repeated until Redis has
// answered, or this process ends and its claims lapse.
func (s *slot) release(segment *ledger.Segment, delay time.Duration) {
	for {
		err := segment.Release(s.recording, delay.Milliseconds())
		if err == nil || s.recording.Err() != nil {
			return
		}
		s.log.Warn("a release failed and is repeated", "error", err)
		pause(s.recording, time.Second)
	}
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
