// Package gate says when the next call to the Chat API may go.
//
// Invariant: for a known quota, the calls that were granted within any window,
// by all processes together, stay within the quota; while calls are held,
// nothing is granted but one probe at a time. All state is in Redis, one hash
// and some lists for each target type, and goes by Redis's clock, so processes
// share it whatever their own clocks say.
//
// It makes no calls, keeps no queue and knows no jobs: who gets a grant, and
// what an answer means, is decided elsewhere.
package gate

import (
	"context"
	_ "embed"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Reason is why no calls go: the status document's "blocked".
type Reason string

// The reasons.
const (
	ReasonQuota        Reason = "quota"        // the window is used up, or the API throttles
	ReasonUnauthorized Reason = "unauthorized" // no token is accepted
	ReasonUnknownApp   Reason = "unknown_app"  // the API does not know the org, the app or the URL
	ReasonPlan         Reason = "plan"         // the plan is used up
	ReasonRejected     Reason = "rejected"     // the API refuses whatever is sent, and all for the same reason
	ReasonOutage       Reason = "outage"       // the API is away
)

// Config shapes a gate.
type Config struct {
	// Namespace is the prefix of all keys.
	Namespace string
	// Quotas are the known limits; a type without any is held only when the API throttles.
	Quotas Quotas
	// Margin is added to each window, against calls that overtake each other on
	// their way to the API.
	Margin time.Duration
	// ProbeTimeout is how long one probe keeps others from going. Its answer counts
	// later, too; but who makes it may be gone.
	ProbeTimeout time.Duration
}

// DefaultConfig returns a gate without known quotas.
func DefaultConfig() Config {
	return Config{Namespace: "crier", Margin: 20 * time.Millisecond, ProbeTimeout: 5 * time.Second}
}

// Gate grants calls. It is safe for concurrent use.
type Gate struct {
	cfg    Config
	client redis.UniversalClient
	rows   sync.Map // subjects with answers in a row that only a success ends, as far as is known here
}

// New returns a gate. Gates of one namespace share their state.
func New(client redis.UniversalClient, cfg Config) *Gate {
	return &Gate{cfg: cfg, client: client}
}

// Grant is the answer to "may these calls go now?".
type Grant struct {
	Calls int           // how many may go, the first of those that were asked for
	Wait  time.Duration // ask again for the rest after it; 0 where all may go
	Held  Reason        // why the rest may not; with Probe, what the probe is to find out
	Probe bool          // it is one call: report its answer in any case
}

//go:embed grant.lua
var grantText string

//go:embed report.lua
var reportText string

var (
	grantScript  = redis.NewScript(grantText)
	reportScript = redis.NewScript(reportText)
)

func (g *Gate) key(targetType, part string) string {
	return g.cfg.Namespace + ":{gate:" + targetType + "}:" + part
}

// Ask asks for calls with so many targets each, in the order in which they want
// to go: one script, one round trip. A granted call is charged to the quota
// whether it is made or not.
func (g *Gate) Ask(ctx context.Context, targetType string, targets ...int) (Grant, error) {
	return g.ask(ctx, targetType, targets, g.cfg.Quotas[targetType])
}

// AskRate asks for one call with so many targets of a job that has a cap of
// its own, in targets a second.
func (g *Gate) AskRate(ctx context.Context, job string, targets, perSecond int) (Grant, error) {
	return g.ask(ctx, "job:"+job, []int{targets}, []Rate{{N: perSecond, Targets: true, Window: time.Second}})
}

func (g *Gate) ask(ctx context.Context, subject string, targets []int, rates []Rate) (Grant, error) {
	keys := []string{g.key(subject, "state")}
	args := []any{g.cfg.ProbeTimeout.Microseconds(), len(targets)}
	for _, n := range targets {
		args = append(args, n)
	}
	for _, r := range rates {
		unit := "calls:"
		if r.Targets {
			unit = "targets:"
		}
		keys = append(keys, g.key(subject, unit+r.Window.String()))
		args = append(args, (r.Window + g.cfg.Margin).Microseconds(), r.N, r.Targets)
	}
	reply, err := grantScript.Run(ctx, g.client, keys, args...).Slice()
	if err != nil {
		return Grant{}, fmt.Errorf("gate: ask: %w", err)
	}
	if len(reply) != 5 {
		return Grant{}, fmt.Errorf("gate: ask: reply of %d parts", len(reply))
	}
	g.noteRow(subject, reply[4] == int64(1))
	calls, _ := reply[0].(int64)
	wait, _ := reply[1].(int64)
	held, _ := reply[2].(string)
	return Grant{
		Calls: int(calls),
		Wait:  time.Duration(wait) * time.Microsecond,
		Held:  Reason(held),
		Probe: reply[3] == int64(1),
	}, nil
}

// Hold is what an answer asks of all calls of its target type.
type Hold struct {
	Reason Reason
	Base   time.Duration // the first hold; doubles with every probe that fails
	Max    time.Duration // the longest
	Asked  time.Duration // what the API asked for, 0 = nothing: the hold is at least as long

	// Row is how many such answers it takes, without a success between, before
	// calls are held: a single one may be its target's own fault. 0 = one is enough.
	Row   int
	Alike string        // what makes them such, beside the reason
	Few   time.Duration // a quarter of Row is enough once the row has lasted so long; 0 = it never is
}

// Report tells the gate of a granted call that was answered in a way that asks
// for a hold. It returns how long calls are held now; 0 where the row is still
// too short for that.
func (g *Gate) Report(ctx context.Context, targetType string, probe bool, h Hold) (time.Duration, error) {
	return g.report(ctx, targetType, string(h.Reason), probe, h)
}

// Passed tells the gate of a success, which ends all rows. That of a probe ends
// the hold, too: calls go again.
func (g *Gate) Passed(ctx context.Context, targetType string, probe bool) error {
	_, err := g.report(ctx, targetType, "ok", probe, Hold{})
	return err
}

// Over tells the gate that a probe was no success, and yet answered in a way that
// shows that the cause of the hold is gone. Rows go on.
func (g *Gate) Over(ctx context.Context, targetType string, held Reason) error {
	_, err := g.report(ctx, targetType, "over", true, Hold{Alike: string(held)})
	return err
}

// Unused tells the gate that a probe was granted and its call not made, so
// that nobody waits for its answer.
func (g *Gate) Unused(ctx context.Context, targetType string) error {
	_, err := g.report(ctx, targetType, "unused", true, Hold{})
	return err
}

// InRow reports whether a success is news to the gate: by its last answers,
// calls were refused in a row.
func (g *Gate) InRow(targetType string) bool {
	_, found := g.rows.Load(targetType)
	return found
}

func (g *Gate) noteRow(subject string, row bool) {
	if row {
		g.rows.Store(subject, nil)
	} else if g.InRow(subject) {
		g.rows.Delete(subject)
	}
}

func (g *Gate) report(ctx context.Context, targetType, verdict string, probe bool, h Hold) (time.Duration, error) {
	flag := ""
	if probe {
		flag = "1"
	}
	reply, err := reportScript.Run(ctx, g.client, []string{g.key(targetType, "state")}, verdict, flag,
		h.Base.Microseconds(), h.Max.Microseconds(), h.Asked.Microseconds(), h.Row, h.Few.Microseconds(), h.Alike).Int64Slice()
	if err != nil {
		return 0, fmt.Errorf("gate: report: %w", err)
	}
	if len(reply) != 2 {
		return 0, fmt.Errorf("gate: report: reply of %d parts", len(reply))
	}
	g.noteRow(targetType, reply[1] == 1)
	return time.Duration(reply[0]) * time.Microsecond, nil
}

// Block says why calls stand still.
type Block struct {
	Reason Reason // "" = they do not
	Since  time.Time
}

// Blocked reports whether calls of a target type stand still: held, or waiting
// more than a second for their window.
func (g *Gate) Blocked(ctx context.Context, targetType string) (Block, error) {
	state, err := g.client.HGetAll(ctx, g.key(targetType, "state")).Result()
	if err != nil {
		return Block{}, fmt.Errorf("gate: blocked: %w", err)
	}
	us := func(field string) time.Time {
		n, _ := strconv.ParseInt(state[field], 10, 64) // absent: long ago
		return time.UnixMicro(n).UTC()
	}
	if state["reason"] != "" {
		return Block{Reason: Reason(state["reason"]), Since: us("since")}, nil
	}
	now, err := g.client.Time(ctx).Result()
	if err != nil {
		return Block{}, fmt.Errorf("gate: blocked: %w", err)
	}
	if us("paced").After(now) {
		return Block{Reason: ReasonQuota, Since: us("paced_since")}, nil
	}
	return Block{}, nil
}
