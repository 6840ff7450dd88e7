package tasks

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"crier/internal/apiclient"
	"crier/internal/chunker"
	"crier/internal/gate"
	"crier/internal/ledger"
)

// inPlace is the longest delay for which targets wait in their slot; before a
// longer one the segment goes back to the ledger.
const inPlace = 3 * time.Second

// errNotRunning says that a job was paused, cancelled or ended meanwhile.
var errNotRunning = errors.New("tasks: the job does not run any more")

// call is the life of a batch: grant, mark, POST, classify, record, tell. The
// decision says what is left to do; an error, that nothing more of the segment
// is to be sent now.
func (s *slot) call(stop context.Context, c *campaign, segment *ledger.Segment, b batch, cut chunker.Batch) (decision, error) {
	unsent := decision{again: true, left: b}

	// Grant: one place in flight, one call of the quota.
	offer := &offer{job: s.job.ID, weight: s.job.Weight, maxRate: s.job.MaxRate, targets: cut.Count}
	pass, err := s.dispatch.acquire(stop, c.targetType, offer)
	if err != nil {
		return unsent, err
	}
	landed := sync.OnceFunc(s.dispatch.release) // the place is for the call, not for its record
	defer landed()

	// Mark: should this process end now, the ledger knows whose answer was lost.
	mark := ledger.Update{Index: b.index, Code: ledger.InFlight}
	state, err := segment.Commit(s.recording, ledger.Tally{}, mark)
	if err != nil {
		s.dispatch.unused(s.recording, c.targetType, pass)
		return unsent, err
	}
	if state != ledger.StateRunning {
		s.dispatch.unused(s.recording, c.targetType, pass)
		_, err := segment.Commit(s.recording, ledger.Tally{}, ledger.Update{Index: b.index, Code: b.refused()})
		return unsent, errors.Join(errNotRunning, err)
	}

	// POST: every answer is classified once, in apiclient.
	started, body := time.Now(), c.body(cut)
	b.bytes = len(body)
	answer, sendErr := s.client.Send(s.calling, apiclient.Call{
		TargetType: c.targetType, Body: body, Lines: cut.Lines, Count: cut.Count,
	})
	landed()
	d := decide(b, answer, sendErr, s.job.Hold, s.policy, time.Now())

	// Record: outcomes and counts together.
	state, err = segment.Commit(s.recording, ledger.Tally{Calls: made(sendErr), Throttled: d.throttled()}, d.updates...)
	if err != nil {
		s.late(segment, d, err)
	}

	// Tell: the gate, the metrics, the log.
	s.tell(c.targetType, pass, d)
	if sendErr == nil {
		s.learn(c.targetType, b.hints, len(body))
	}
	s.metrics.call(s.job, b, d, len(body))
	s.logCall(segment, b, d, sendErr, time.Since(started))
	s.noteState(state)
	return d, err
}

// made is the number of calls that were made: none where there was no token for it.
func made(err error) int {
	var e *apiclient.Error
	if errors.As(err, &e) && e.NotMade {
		return 0
	}
	return 1
}

// late reports what a call brought whose claim was lost before it could be recorded.
func (s *slot) late(segment *ledger.Segment, d decision, err error) {
	s.log.Warn("an answer could not be recorded: the claim is lost", "segment", segment.Name, "result", d.result, "error", err)
	if !errors.Is(err, ledger.ErrFenced) {
		return
	}
	for _, u := range d.updates {
		if u.Code != ledger.Sent {
			continue
		}
		if n, err := segment.Late(s.recording, u.Index, u.Attempts); err != nil || n > 0 {
			s.log.Info("a late answer was recorded", "segment", segment.Name, "targets", n, "error", err)
		}
	}
}

// tell lets the gate know what the answer means for all other calls.
func (s *slot) tell(t apiclient.TargetType, p pass, d decision) {
	var err error
	var held time.Duration
	switch {
	case d.hold != nil:
		held, err = s.gate.Report(s.recording, string(t), p.probe, *d.hold)
		s.log.Warn("calls are held", "target_type", t, "reason", d.hold.Reason, "for", held.String())
	case p.probe && p.held != gate.ReasonQuota && d.result != "sent" && d.again:
		// It was not answered in a way that says anything of the cause of the hold.
		_, err = s.gate.Report(s.recording, string(t), true, gate.Hold{Reason: p.held, Base: holdBase, Max: holdMax})
	case p.probe:
		err = s.gate.Passed(s.recording, string(t))
		s.log.Info("calls go again", "target_type", t)
	}
	if err != nil {
		s.log.Warn("the gate could not be told of an answer", "target_type", t, "error", err)
	}
}

// logCall writes one wide line for each call.
func (s *slot) logCall(segment *ledger.Segment, b batch, d decision, err error, took time.Duration) {
	level := slog.LevelDebug
	if err != nil && (!d.again || d.delay > 0 && s.warning.due()) {
		level = slog.LevelWarn // targets have failed, or the API has, and then this is said now and then
	}
	if !s.log.Enabled(s.recording, level) {
		return
	}
	s.log.Log(s.recording, level, "call", "segment", segment.Name, "targets", len(b.index), "bytes", b.bytes,
		"result", d.result, "ms", took.Milliseconds(), "retry_in", d.delay.String(), "error", err)
}

// noteState lets the index know at once of a job that this slot has finished.
func (s *slot) noteState(state ledger.State) {
	if state.Ended() {
		s.once.Do(func() { s.end(state) })
	}
}

func (s *slot) end(state ledger.State) {
	if err := s.ledger.Ended(s.recording, s.job.ID); err != nil {
		s.log.Warn("the sweeper will find that the job has ended", "error", err)
	}
	job, err := s.ledger.Job(s.recording, s.job.ID)
	if err != nil {
		s.log.Info("job ended", "state", state)
		return
	}
	s.metrics.jobDuration.WithLabelValues(job.Priority()).Observe(job.Finished.Sub(job.Created).Seconds())
	s.log.Info("job ended", "state", state, "name", job.Name, "total", job.Total, "sent", job.Sent, "failed", job.Failed,
		"unknown", job.Unknown, "cancelled", job.Cancelled, "resent", job.Resent, "calls", job.Calls,
		"seconds", job.Finished.Sub(job.Created).Seconds())
}
