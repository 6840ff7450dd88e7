package tasks

import (
	"context"
	"math"
	"strings"
	"time"

	"crier/internal/apiclient"
	"crier/internal/gate"
)

// LimitsSource says where the limits of a plan come from.
type LimitsSource string

// The sources.
const (
	LimitsOfWorker  LimitsSource = "worker"  // published by the worker that was started last
	LimitsByDefault LimitsSource = "default" // no worker has published any yet
)

// BoundByMaxRate stands in Plan.BoundBy for the job's own options.max_rate.
const BoundByMaxRate = "max_rate"

// Plan is what sending would take: the same document on the command line and
// over HTTP. Its calls are those of a job that meets no fault.
type Plan struct {
	TargetType     apiclient.TargetType `json:"target_type"`
	Targets        int                  `json:"targets"`         // distinct ones, to be sent to
	Duplicates     int                  `json:"duplicates"`      // repeated names, sent to once
	Excluded       int                  `json:"excluded"`        // names of the list that are left out
	Invalid        int                  `json:"invalid"`         // invalid names of the list, skipped
	InvalidExclude int                  `json:"invalid_exclude"` // the same of the list to exclude

	Calls       int   `json:"calls"`
	Bytes       int64 `json:"bytes"`        // of all request bodies together
	LargestBody int   `json:"largest_body"` // bytes
	Segments    int   `json:"segments"`     // parts that workers can work on side by side

	MaxBody    int          `json:"max_body"`    // bytes that a call may have
	MaxTargets int          `json:"max_targets"` // targets that a call may have, max_rate considered
	LimitsFrom LimitsSource `json:"limits_from"`

	// Quota is the CHAT_QUOTA that a worker has published; null = none has.
	Quota *string `json:"quota"`
	// Learned is what workers have found out of the target type's quota, as
	// CHAT_QUOTA has it, where that says auto or more than the API allows; else null.
	Learned *string `json:"learned"`
	// Seconds is when the last call goes, counted from the first one, if nothing
	// else is sent. Null where no quota is known for the target type, and none was
	// learned yet: then nobody can tell.
	Seconds *float64 `json:"seconds"`
	// MinSeconds is the same by what is known: max_rate, and the quota if it is.
	MinSeconds float64 `json:"min_seconds"`
	// BoundBy is the rate for which calls wait, as CHAT_QUOTA has it, or
	// BoundByMaxRate; null where none has to wait.
	BoundBy *string `json:"bound_by"`

	// Skipped and SkippedExclude are as in List.
	Skipped        *NamesError `json:"-"`
	SkippedExclude *NamesError `json:"-"`
}

// Plan tells what Submit would make of a submission, through the same code. It
// stores nothing; its errors are those of Submit.
func (s *Submitter) Plan(ctx context.Context, sub Submission) (Plan, error) {
	l, err := s.begin(ctx, sub)
	if err != nil {
		return Plan{}, err
	}
	pace, err := newPace(*l.campaign.limits, l.campaign.targetType)
	if err == nil {
		err = pace.learn(ctx, s.Gate, l.campaign.targetType)
	}
	if err != nil {
		return Plan{}, err
	}
	p := Plan{
		TargetType: l.campaign.targetType, MaxBody: l.campaign.cut.MaxBytes, MaxTargets: l.campaign.cut.MaxTargets,
		LimitsFrom: pace.from, Quota: pace.quota, Learned: pace.learned,
	}
	margin, last := gate.DefaultConfig().Margin, time.Duration(0)
	forecast := gate.NewForecast(margin, pace.rates...)
	if most := sub.Document.Options.MaxRate; most > 0 {
		forecast.Cap(margin, most)
		pace.names = append(pace.names, BoundByMaxRate)
	}
	l.batch = func(targets, bytes int) {
		p.Calls++
		p.Bytes += int64(bytes)
		p.LargestBody = max(p.LargestBody, bytes)
		last = forecast.Call(targets)
	}
	if err := l.run(ctx); err != nil {
		return Plan{}, err
	}
	p.Segments, p.Targets, p.Duplicates, p.Excluded = l.segments, l.list.Total, l.list.Duplicates, l.list.Excluded
	p.Invalid, p.InvalidExclude = l.skipped.Count, l.exclude.Count
	p.Skipped, p.SkippedExclude = l.list.Skipped, l.list.SkippedExclude
	seconds := math.Round(last.Seconds()*1000) / 1000
	if p.MinSeconds = seconds; pace.known {
		p.Seconds = &seconds
	}
	if i := forecast.Binding(); i >= 0 {
		p.BoundBy = &pace.names[i]
	}
	return p, nil
}

// pace is what is known of how fast calls may go.
type pace struct {
	from    LimitsSource
	quota   *string
	learned *string
	known   bool        // there is a rate for the target type
	rates   []gate.Rate // of the quota
	names   []string    // of the rates
}

func newPace(limits Limits, t apiclient.TargetType) (p pace, err error) {
	p.from = LimitsByDefault
	if limits.published {
		p.from = LimitsOfWorker
	}
	if limits.Quota != "" {
		p.quota = &limits.Quota
	}
	quotas, err := limits.quotas()
	if err != nil {
		return p, err
	}
	p.rates = quotas[string(t)]
	p.known = len(p.rates) > 0
	for _, r := range p.rates {
		p.names = append(p.names, r.String())
	}
	return p, nil
}

// learn adds what workers have found out of the quota.
func (p *pace) learn(ctx context.Context, g *gate.Gate, t apiclient.TargetType) error {
	beliefs, err := g.Beliefs(ctx, string(t), gate.Quotas{string(t): p.rates})
	if err != nil {
		return err
	}
	var learned []string
	for _, b := range beliefs {
		if !b.Learned {
			continue
		}
		r := gate.Rate{N: max(int(b.Rate*60), 1), Targets: b.Scope == gate.ScopeTargets, Window: time.Minute}
		p.known = true
		p.rates, p.names = append(p.rates, r), append(p.names, r.String())
		learned = append(learned, r.String())
	}
	if learned != nil {
		text := string(t) + "=" + strings.Join(learned, ",")
		p.learned = &text
	}
	return nil
}
