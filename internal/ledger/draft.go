package ledger

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
)

// Errors of a Draft.
var (
	// ErrBusy: another one is adding targets to the job.
	ErrBusy = errors.New("another request is adding targets to the job")
	// ErrEmpty: the job has no target yet, so that it would never finish.
	ErrEmpty = errors.New("the job has no targets")
)

var (
	beginScript  = script("begin.lua")
	takeScript   = script("tidy.lua", "take.lua")
	stageScript  = script("hold.lua", "stage.lua")
	joinScript   = script("hold.lua", "join.lua")
	launchScript = script("tidy.lua", "hold.lua", "launch.lua")
	renewScript  = script("renew.lua")
	leaveScript  = script("tidy.lua", "leave.lua")
)

// Begin makes a job that is loading: visible, without targets. Drafts add them,
// and start it. Without either for Config.LoadingTimeout it is ended by Settle.
//
// A job that was begun under this id with the same document is left as it is,
// with created false, also if it was started since. Other content is ErrConflict,
// and so is a job that a Load has made: its targets are part of its content.
func (l *Ledger) Begin(ctx context.Context, spec Spec) (created bool, err error) {
	k, fp := l.keys(spec.ID), sha256.Sum256(spec.Document)
	args := append([]any{
		uuid.NewString(), fp[:fingerprintBytes], spec.Document, l.cfg.LoadingTimeout.Milliseconds(),
	}, spec.fields()...)
	return l.create(ctx, "begin", spec.ID, func() *redis.Cmd {
		return beginScript.Run(ctx, l.client, []string{k.job, k.doc}, args...)
	})
}

// Draft is the right to add targets to a loading job, which one at a time has
// across all processes. It is kept alive until Close, so call that always. Where
// it is lost nevertheless, since Redis did not hear of its holder for long,
// everything fails with ErrFenced, and nothing of what was added is seen.
//
// Its methods fail with ErrNotFound or a *StateError where the job was deleted,
// cancelled or started meanwhile. Every other error but ErrFenced, ErrLost and
// that of a full Redis (redis.IsOOMError) may have come after the change: the
// same call again settles it.
//
// It is not safe for concurrent use.
type Draft struct {
	ledger  *Ledger
	job     Job
	token   string // whoever has it has the right
	version string
	total   int64  // targets committed
	count   int    // segments committed
	last    string // name of the newest of these, "" = none

	list segmenter // what was added since
	next string    // version that Commit makes of it
	fp   []byte    // of the whole content, nil if it is not known

	stop context.CancelFunc
	kept chan struct{} // closed when nobody renews the right any more
}

// rightTTL is how long the right to add stays when its holder falls silent.
const rightTTL = 10 * time.Second

// Draft takes the right to add to a loading job; while another one has it, it
// waits for so long, then that is ErrBusy. ErrNotFound; a *StateError where the
// job is not loading. What an earlier holder has left uncommitted is dropped.
func (l *Ledger) Draft(ctx context.Context, id string, wait time.Duration) (*Draft, error) {
	const every = 50 * time.Millisecond
	d := &Draft{ledger: l, token: uuid.NewString(), kept: make(chan struct{})}
	for until := time.Now().Add(wait); ; {
		busy, err := d.take(ctx, id)
		if err != nil {
			return nil, err
		}
		if !busy {
			break
		}
		left := time.Until(until)
		if left <= 0 {
			return nil, fmt.Errorf("ledger: load: job %q: %w", id, ErrBusy)
		}
		select {
		case <-ctx.Done():
			return nil, wrap("load", ctx.Err())
		case <-time.After(min(left, every/2+rand.N(every))):
		}
	}
	d.reset()
	var keeping context.Context
	keeping, d.stop = context.WithCancel(context.WithoutCancel(ctx))
	go d.keep(keeping)
	return d, nil
}

// take asks once for the right.
func (d *Draft) take(ctx context.Context, id string) (busy bool, err error) {
	d.job.ID = id
	reply, err := takeScript.Run(ctx, d.ledger.client, d.keys(), d.token, rightTTL.Milliseconds()).StringSlice()
	if err != nil {
		if ctx.Err() != nil { // and who waits next should not wait for a holder who has given up
			_ = d.leave(ctx)
		}
		return false, wrap("load", err)
	}
	fields := make(map[string]string, len(reply)/2)
	for i := 0; i+1 < len(reply); i += 2 {
		fields[reply[i]] = reply[i+1]
	}
	switch {
	case fields["busy"] != "":
		return true, nil
	case len(fields) == 0:
		return false, d.refusal("load", "gone", "")
	case fields["state"] != string(StateLoading):
		return false, d.refusal("load", "state", fields["state"])
	}
	d.job, d.version, d.last = parseJob(id, fields), fields["v"], fields["last"]
	d.total = d.job.Total
	if d.last != "" {
		number, _, _, err := parseSegmentName(d.last)
		d.count = number + 1
		return false, err
	}
	return false, nil
}

// keep renews the right until it is given back, or lost.
func (d *Draft) keep(ctx context.Context) {
	defer close(d.kept)
	tick := time.NewTicker(rightTTL / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if held, err := d.renew(ctx); err == nil && !held {
			return
		}
	}
}

func (d *Draft) renew(ctx context.Context) (held bool, err error) {
	n, err := renewScript.Run(ctx, d.ledger.client, []string{d.ledger.keys(d.job.ID).lock}, d.token, rightTTL.Milliseconds()).Int()
	return n == 1, err
}

// Job is the job's record as it was when the right was taken.
func (d *Draft) Job() Job { return d.job }

// Document reads the job's document: see Ledger.Document.
func (d *Draft) Document(ctx context.Context) ([]byte, error) {
	return d.ledger.Document(ctx, d.job.ID)
}

// Version names the committed content: it is another one after each Commit of
// anything, and another one in each job. So who remembers the list that was
// stored under a version knows whether that is the list still.
func (d *Draft) Version() string { return d.version }
