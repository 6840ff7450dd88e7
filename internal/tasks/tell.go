package tasks

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"time"

	"crier/internal/apiclient"
	"crier/internal/ledger"
)

// logCall writes one wide line for each call. Where targets have failed or the API
// has, that is a warning, now and then.
func (d *delivery) logCall(f *flight) {
	level := slog.LevelDebug
	switch {
	case f.err == nil:
	case !f.decision.again && d.failing.due(), f.decision.again && f.decision.delay > 0 && d.warning.due():
		level = slog.LevelWarn
	}
	if d.log.Enabled(d.recording, level) {
		d.log.LogAttrs(d.recording, level, "call", d.about(f)...)
	}
}

// about is what log lines tell about a call, beside its job.
func (d *delivery) about(f *flight) []slog.Attr {
	attrs := []slog.Attr{
		slog.String("segment", d.segment.Name),
		slog.String("target_type", string(f.campaign.targetType)),
		slog.String("priority", d.job.Priority()),
		slog.Int("targets", len(f.index)),
		slog.Int("bytes", f.bytes),
		slog.String("result", f.decision.result),
		slog.Int("status", statusOf(f.err)),
		slog.Int64("ms", f.took.Milliseconds()),
		slog.Int64("wait_ms", f.permit.waited.Milliseconds()),
		slog.Int("attempts", f.attempts+1),
		slog.Bool("resent", f.code == ledger.Lost),
		slog.Bool("probe", f.permit.probe),
		slog.String("retry_in", f.decision.delay.Round(time.Millisecond).String()),
	}
	if f.err != nil {
		attrs = append(attrs, slog.Any("error", f.err))
	}
	return attrs
}

// statusOf is the HTTP status of an answer; 0 = there was none.
func statusOf(err error) int {
	var e *apiclient.Error
	switch {
	case err == nil:
		return http.StatusOK
	case errors.As(err, &e):
		return e.Status
	default:
		return 0
	}
}

// TellAccepted tells of a new job and where it came from. One that is loading has
// no targets yet.
func TellAccepted(log *slog.Logger, done Submitted, from string) {
	d := done.Document
	log.Info("job accepted", "job", done.ID, "from", from, "name", d.Options.Name, "priority", ledger.Spec{Urgent: d.Options.Urgent}.Priority(),
		"target_type", d.Message.TargetType, "total", done.Total)
}

// tellStart tells of a job that has just started: of bulk ones, since urgent ones
// end at once.
func (s *slot) tellStart() {
	level := slog.LevelInfo
	if s.job.Urgent {
		level = slog.LevelDebug
	}
	due := s.job.Created
	if s.job.SendAt.After(due) {
		due = s.job.SendAt
	}
	s.log.Log(s.recording, level, "job started", "name", s.job.Name, "priority", s.job.Priority(), "target_type", s.job.TargetType,
		"total", s.job.Total, "waited_seconds", seconds(s.clock().Sub(due)))
}

// noteState lets the index know at once of a job that this slot has finished.
func (s *slot) noteState(state ledger.State) {
	if state == ledger.StateFinished { // a cancelled job may have targets pending: see settle
		s.once.Do(func() { s.end(s.recording, s.job.ID) })
	}
}

// end tells of a job that has ended, if nobody has before: all that find it ended
// come by here or by the sweeper, and the index says who was the first. So every
// job has one line, but where Redis's word on that is lost.
func (w *Worker) end(ctx context.Context, id string) {
	first, err := w.ledger.Ended(ctx, id)
	if err != nil {
		w.log.Warn("the sweeper will find that the job has ended", "job", id, "error", err)
	}
	if first {
		w.tellEnd(ctx, id)
	}
}

// tellEnd tells of a job that has ended. What was not ended by an answer is counted
// here, whoever has done it, a command perhaps that nobody asks for metrics.
func (w *Worker) tellEnd(ctx context.Context, id string) {
	job, err := w.ledger.Job(ctx, id)
	if err != nil {
		w.log.Warn("a job has ended, and its record cannot be read", "job", id, "error", err)
		return
	}
	for outcome, n := range map[ledger.Outcome]int64{ledger.OutcomeCancelled: job.Cancelled, ledger.OutcomeUnknown: job.Settled} {
		w.metrics.targets.WithLabelValues(job.TargetType, string(outcome)).Add(float64(n))
	}
	took := max(job.Finished.Sub(job.Accepted()), 0)
	w.metrics.jobDuration.WithLabelValues(job.Priority()).Observe(took.Seconds())
	var reasons []slog.Attr
	for _, reason := range slices.Sorted(maps.Keys(job.Reasons)) {
		reasons = append(reasons, slog.Int64(reason, job.Reasons[reason]))
	}
	working := time.Duration(0)
	if !job.Started.IsZero() {
		working = job.Finished.Sub(job.Started)
	}
	w.log.LogAttrs(ctx, slog.LevelInfo, "job ended",
		slog.String("job", id), slog.String("state", string(job.State)), slog.String("name", job.Name),
		slog.String("priority", job.Priority()), slog.String("target_type", job.TargetType),
		slog.Int64("total", job.Total), slog.Int64("sent", job.Sent), slog.Int64("failed", job.Failed),
		slog.Int64("unknown", job.Unknown), slog.Int64("cancelled", job.Cancelled), slog.Int64("resent", job.Resent),
		slog.Int64("calls", job.Calls), slog.Int64("throttled", job.Throttled),
		slog.Float64("seconds", seconds(took)), slog.Float64("working_seconds", seconds(working)),
		slog.Attr{Key: "reasons", Value: slog.GroupValue(reasons...)})
}

// seconds is a time as log lines have it, to the millisecond.
func seconds(d time.Duration) float64 { return d.Round(time.Millisecond).Seconds() }
