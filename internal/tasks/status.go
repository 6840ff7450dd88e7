package tasks

import (
	"context"
	"math"
	"time"

	"crier/internal/gate"
	"crier/internal/ledger"
)

// Status is what users see of a job: the same document on the command line and
// over HTTP.
type Status struct {
	ID               string           `json:"id"`
	Name             string           `json:"name"`
	State            ledger.State     `json:"state"`
	TargetType       string           `json:"target_type"`
	Priority         string           `json:"priority"`
	Total            int64            `json:"total"`
	Pending          int64            `json:"pending"`
	Sent             int64            `json:"sent"`
	Failed           int64            `json:"failed"`
	Unknown          int64            `json:"unknown"`
	Cancelled        int64            `json:"cancelled"`
	Resent           int64            `json:"resent"`
	Calls            int64            `json:"calls"`
	Throttled        int64            `json:"throttled"`
	Blocked          *gate.Reason     `json:"blocked"`
	BlockedSince     *time.Time       `json:"blocked_since"`
	CreatedAt        *time.Time       `json:"created_at"`
	StartedAt        *time.Time       `json:"started_at"`
	FinishedAt       *time.Time       `json:"finished_at"`
	TargetsPerSecond float64          `json:"targets_per_second"` // targets with an answer over the time of work
	ETASeconds       *float64         `json:"eta_seconds"`        // null where nothing moves
	Reasons          map[string]int64 `json:"reasons"`
	ResendOf         *string          `json:"resend_of"`

	// What people are told beside the document: when the job expires, and whether it
	// will not be done by then (ledger.Job.Late).
	ExpiresAt *time.Time `json:"-"`
	Late      bool       `json:"-"`
}

// Done is the number of targets with a final outcome.
func (s Status) Done() int64 { return s.Total - s.Pending }

// ReadStatus reads the status of one job. ledger.ErrNotFound where there is none.
func ReadStatus(ctx context.Context, book *ledger.Ledger, g *gate.Gate, id string) (Status, error) {
	job, err := book.Job(ctx, id)
	if err != nil {
		return Status{}, err
	}
	return NewStatus(ctx, g, job)
}

// NewStatus describes a job as it was read.
func NewStatus(ctx context.Context, g *gate.Gate, job ledger.Job) (Status, error) {
	s := Status{
		ID: job.ID, Name: job.Name, State: job.State, TargetType: job.TargetType, Priority: job.Priority(),
		Total: job.Total, Pending: job.Pending, Sent: job.Sent, Failed: job.Failed, Unknown: job.Unknown,
		Cancelled: job.Cancelled, Resent: job.Resent, Calls: job.Calls, Throttled: job.Throttled,
		CreatedAt: known(job.Created), StartedAt: known(job.Started), FinishedAt: known(job.Finished),
		Reasons: job.Reasons, ExpiresAt: known(job.ExpiresAt),
	}
	if job.ResendOf != "" {
		s.ResendOf = &job.ResendOf
	}
	end := time.Now()
	if !job.Finished.IsZero() {
		end = job.Finished
	}
	if took := end.Sub(job.Started).Seconds(); !job.Started.IsZero() && took > 0 {
		s.TargetsPerSecond = math.Round(float64(s.Done()-s.Cancelled)/took*10) / 10
	}
	if job.State != ledger.StateRunning {
		return s, nil
	}
	block, err := g.Blocked(ctx, job.TargetType)
	if err != nil {
		return Status{}, err
	}
	if block.Reason != "" {
		s.Blocked, s.BlockedSince = &block.Reason, known(block.Since)
	}
	held := s.Blocked != nil && *s.Blocked != gate.ReasonQuota
	s.Late = !held && job.Late(end)
	if s.TargetsPerSecond > 0 && !held {
		eta := math.Ceil(float64(s.Pending) / s.TargetsPerSecond)
		s.ETASeconds = &eta
	}
	return s, nil
}

// StatusOfNew is the status of a job that was just made, where it cannot be read:
// what is known of it. Its times are not.
func StatusOfNew(done Submitted) Status {
	d := done.Document
	s := Status{
		ID: done.ID, Name: d.Options.Name, State: ledger.StateRunning,
		TargetType: string(d.Message.TargetType), Priority: ledger.Spec{Urgent: d.Options.Urgent}.Priority(),
		Total: int64(done.Total), Pending: int64(done.Total), Reasons: map[string]int64{},
	}
	switch {
	case done.Total == 0:
		s.State = ledger.StateLoading
	case d.Options.SendAt.After(time.Now()):
		s.State = ledger.StateScheduled
	}
	return s
}

// known turns an absent time into null.
func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
