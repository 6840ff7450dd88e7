package tasks

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"crier/internal/apiclient"
	"crier/internal/gate"
	"crier/internal/ledger"
)

// made is the number of calls that were made: none where there was no token for
// it, or no certainty.
func made(err error) int {
	var e *apiclient.Error
	if errors.As(err, &e) && e.NotMade || errors.Is(err, errNotMade) {
		return 0
	}
	return 1
}

// withinQuota reports whether a call was answered by the API, and not for a quota.
func withinQuota(err error) bool {
	var e *apiclient.Error
	if !errors.As(err, &e) {
		return err == nil
	}
	switch e.Kind {
	case apiclient.KindThrottled, apiclient.KindUnavailable, apiclient.KindUnknown, apiclient.KindNoToken:
		return false
	default:
		return true
	}
}

// tell lets the gate know what the answer means for all other calls, and reports
// whether these are held for it now. Where the gate cannot say, they count as
// held: then nothing is settled that another answer could still put right.
func (s *slot) tell(t apiclient.TargetType, p permit, d decision, answer error) (held bool) {
	var err error
	switch {
	case d.scope != "":
		var wait time.Duration
		wait, err = s.gate.Throttled(s.recording, string(t), gate.Throttle{
			Ticket: p.ticket, Scope: gate.Scope(d.scope), Probe: p.probe, Asked: d.asked,
		})
		if held = err != nil || wait > 0; held && s.holding.due() {
			s.log.Warn("the quota is used up, calls are held", "target_type", t, "scope", d.scope, "for", wait.String())
		}
	case d.hold != nil:
		hold := *d.hold
		if d.shed {
			hold.Shed = p.ticket
		}
		var wait time.Duration
		wait, err = s.gate.Report(s.recording, string(t), p.probe, hold)
		held = err != nil || wait > 0
		if held && (p.probe || s.holding.due()) {
			s.log.Warn("calls are held", "target_type", t, "reason", d.hold.Reason, "for", wait.String(), "answer", d.result,
				"said", inWords(answer, hold))
		}
	case d.success():
		if p.probe || s.gate.InRow(string(t)) {
			err = s.gate.Passed(s.recording, string(t), p.probe)
		}
		if p.probe {
			s.log.Info("calls go again", "target_type", t)
		}
	case p.probe && d.result == string(apiclient.KindNoToken):
		err = s.gate.Unused(s.recording, string(t)) // it did not get so far
	case p.probe && p.held == gate.ReasonQuota, p.probe && !d.again && p.held != gate.ReasonRejected:
		err = s.gate.Over(s.recording, string(t), p.held) // it was answered, and not for this cause
	case p.probe:
		// It was not answered in a way that says anything of the cause of the hold.
		_, err = s.gate.Report(s.recording, string(t), true, gate.Hold{Reason: p.held, Base: holdBase, Max: holdMax})
	}
	if err != nil {
		s.log.Warn("the gate could not be told of an answer", "target_type", t, "error", err)
	}
	return held
}

// inWords is what the API itself has said, for whoever has to find out why calls
// are held. While they are, no target has a result row that would tell.
func inWords(answer error, h gate.Hold) string {
	var e *apiclient.Error
	if errors.As(answer, &e) {
		return detailOf(e)
	}
	return h.Alike // a 200 in which every target is refused
}

// pass notes that a call passed, which began then.
func (w *Worker) pass(t apiclient.TargetType, began time.Time) { w.passes[t].Store(&began) }

// passed is when a call began that passed, the last one that this worker made.
func (w *Worker) passed(t apiclient.TargetType) time.Time {
	if began := w.passes[t].Load(); began != nil {
		return *began
	}
	return time.Time{}
}

// logCall writes one wide line for each call.
func (d *delivery) logCall(f *flight) {
	level := slog.LevelDebug
	if f.err != nil && (!f.decision.again || f.decision.delay > 0 && d.warning.due()) {
		level = slog.LevelWarn // targets have failed, or the API has, and then this is said now and then
	}
	if !d.log.Enabled(d.recording, level) {
		return
	}
	d.log.Log(d.recording, level, "call", "segment", d.segment.Name, "targets", len(f.index), "bytes", f.bytes,
		"result", f.decision.result, "ms", f.took.Milliseconds(), "retry_in", f.decision.delay.String(), "error", f.err)
}

// noteState lets the index know at once of a job that this slot has finished.
func (s *slot) noteState(state ledger.State) {
	if state == ledger.StateFinished { // a cancelled job may have targets pending: see settle
		s.once.Do(func() { s.end(s.recording, s.job.ID, state) })
	}
}

// end tells of a job that has ended.
func (w *Worker) end(ctx context.Context, id string, state ledger.State) {
	log := w.log.With("job", id)
	if err := w.ledger.Ended(ctx, id); err != nil {
		log.Warn("the sweeper will find that the job has ended", "error", err)
	}
	job, err := w.ledger.Job(ctx, id)
	if err != nil {
		log.Info("job ended", "state", state)
		return
	}
	w.metrics.jobDuration.WithLabelValues(job.Priority()).Observe(max(job.Finished.Sub(job.Accepted()), 0).Seconds())
	log.Info("job ended", "state", state, "name", job.Name, "total", job.Total, "sent", job.Sent, "failed", job.Failed,
		"unknown", job.Unknown, "cancelled", job.Cancelled, "resent", job.Resent, "calls", job.Calls,
		"seconds", job.Finished.Sub(job.Created).Seconds())
}
