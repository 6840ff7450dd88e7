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

// Reasons lists them all.
func Reasons() []Reason {
	return []Reason{ReasonQuota, ReasonUnauthorized, ReasonUnknownApp, ReasonPlan, ReasonRejected, ReasonOutage}
}

// Config shapes a gate.
type Config struct {
	// Namespace is the prefix of all keys.
	Namespace string
	// Quotas are the known limits; those of a type without any are learned from
	// what the API refuses.
	Quotas Quotas
	// Beginning is how many calls a second go at first where the limit is to be
	// learned. It doubles about four times a second until calls are refused.
	Beginning int
	// Margin is added to each window, against calls that overtake each other on
	// their way to the API.
	Margin time.Duration
	// ProbeTimeout is how long one probe keeps others from going. Its answer counts
	// later, too; but who makes it may be gone.
	ProbeTimeout time.Duration
	// Patience is how long to wait for Redis. Then a process keeps to what it was
	// granted lately.
	Patience time.Duration
	// Clock is the time of a simulation; nil = Redis's own, the one that processes share.
	Clock func() time.Time
}

// DefaultConfig returns a gate that learns all limits.
func DefaultConfig() Config {
	return Config{
		Namespace: "crier", Beginning: 10, Margin: 20 * time.Millisecond, ProbeTimeout: 5 * time.Second,
		Patience: 500 * time.Millisecond,
	}
}

// Gate grants calls. It is safe for concurrent use.
type Gate struct {
	cfg    Config
	client redis.UniversalClient
	rows   sync.Map // subjects with answers in a row that only a success ends, as far as is known here
	news   sync.Map // target type -> *news
}

// New returns a gate. Gates of one namespace share their state.
func New(client redis.UniversalClient, cfg Config) *Gate {
	return &Gate{cfg: cfg, client: client}
}

// Grant is the answer to "may these calls go now?".
type Grant struct {
	Calls  int           // how many may go, the first of those that were asked for
	Last   int           // targets that the last one of them may have: there may be room for fewer than were asked for
	Wait   time.Duration // ask again for the rest after it; 0 where all may go
	Held   Reason        // why the rest may not; with Probe, what the probe is to find out
	Probe  bool          // it is one call: report its answer in any case
	Ticket Ticket        // comes back with the answers of these calls
}

//go:embed prelude.lua
var preludeText string

//go:embed grant.lua
var grantText string

//go:embed report.lua
var reportText string

//go:embed throttle.lua
var throttleText string

var (
	grantScript    = redis.NewScript(preludeText + grantText)
	reportScript   = redis.NewScript(preludeText + reportText)
	throttleScript = redis.NewScript(preludeText + throttleText)
)

func (g *Gate) key(subject, part string) string {
	return g.cfg.Namespace + ":{gate:" + subject + "}:" + part
}

// paces are the keys of what is known of a target type's quotas in calls and in targets.
func (g *Gate) paces(targetType string) []string {
	return []string{g.key(targetType, string(ScopeCalls)), g.key(targetType, string(ScopeTargets))}
}

// time is that of the scripts.
func (g *Gate) time(ctx context.Context) (time.Time, error) {
	if g.cfg.Clock != nil {
		return g.cfg.Clock(), nil
	}
	now, err := g.client.Time(ctx).Result()
	if err != nil {
		return now, fmt.Errorf("gate: time: %w", err)
	}
	return now, nil
}

// now is the first argument of all scripts.
func (g *Gate) now() any {
	if g.cfg.Clock == nil {
		return ""
	}
	return g.cfg.Clock().UnixMicro()
}

// Ask asks for calls with so many targets each, in the order in which they want
// to go: one script, one round trip. A granted call is charged to the quota
// whether it is made or not. Urgent calls go before all others, and between them
// where these are spaced evenly.
//
// With an error, the grant is what this process may do without the gate: it goes
// on with the share that it had last.
func (g *Gate) Ask(ctx context.Context, targetType string, urgent bool, targets ...int) (Grant, error) {
	n := g.newsOf(targetType)
	told := n.take()
	a := question{subject: targetType, targets: targets, rates: g.cfg.Quotas[targetType], late: n.late(), accepted: told.args()}
	if urgent {
		a.urgent = "1"
	}
	if len(a.rates) == 0 {
		a.beginning = g.cfg.Beginning
	}
	began := g.here()
	if err := n.unheard(began); err != nil {
		n.putBack(told)
		return n.alone(began, urgent, targets), err
	}
	patient, cancel := context.WithTimeout(ctx, g.cfg.Patience)
	defer cancel()
	grant, err := g.ask(patient, a)
	if err != nil {
		if patient.Err() == nil {
			n.putBack(told) // else the gate may have heard it
		}
		n.failed(g.here(), err)
		return n.alone(g.here(), urgent, targets), err
	}
	n.heard(g.here(), began, grant, targets)
	return grant, nil
}

// here is the time of this process.
func (g *Gate) here() time.Time {
	if g.cfg.Clock != nil {
		return g.cfg.Clock()
	}
	return time.Now()
}

// AskRate asks for one call with so many targets of a job that has a cap of
// its own, in targets a second.
func (g *Gate) AskRate(ctx context.Context, job string, targets, perSecond int) (Grant, error) {
	return g.ask(ctx, question{
		subject: "job:" + job, targets: []int{targets}, rates: []Rate{{N: perSecond, Targets: true, Window: time.Second}},
	})
}

// question is what grant.lua is asked.
type question struct {
	subject   string
	urgent    string // "1" = yes
	targets   []int  // of each call
	rates     []Rate
	beginning int
	late      time.Duration
	accepted  []any // since the last question, by pace; nil = the subject has none
}

func (g *Gate) ask(ctx context.Context, a question) (Grant, error) {
	keys := []string{g.key(a.subject, "state")}
	args := []any{g.now(), g.cfg.ProbeTimeout.Microseconds(), a.urgent, a.beginning, a.late.Microseconds()}
	if a.accepted != nil {
		keys = append(keys, g.paces(a.subject)...)
	}
	args = append(append(args, len(keys)-1), a.accepted...)
	args = append(args, len(a.targets))
	for _, n := range a.targets {
		args = append(args, n)
	}
	for _, r := range a.rates {
		unit := "calls:"
		if r.Targets {
			unit = "targets:"
		}
		keys = append(keys, g.key(a.subject, unit+r.Window.String()))
		args = append(args, (r.Window + g.cfg.Margin).Microseconds(), r.N, r.Targets)
	}
	reply, err := grantScript.Run(ctx, g.client, keys, args...).Slice()
	if err != nil {
		return Grant{}, fmt.Errorf("gate: ask: %w", err)
	}
	if len(reply) != 8 {
		return Grant{}, fmt.Errorf("gate: ask: reply of %d parts", len(reply))
	}
	number := func(i int) int64 { n, _ := reply[i].(int64); return n }
	held, _ := reply[2].(string)
	g.noteRow(a.subject, number(4) == 1)
	return Grant{
		Calls:  int(number(0)),
		Last:   int(number(5)),
		Wait:   time.Duration(number(1)) * time.Microsecond,
		Held:   Reason(held),
		Probe:  number(3) == 1,
		Ticket: Ticket{calls: number(6), targets: number(7)},
	}, nil
}

// Block says why calls stand still.
type Block struct {
	Reason Reason // "" = they do not
	Since  time.Time
}

// Blocked reports whether calls of a target type stand still: held, or waiting
// more than five seconds for their quota.
func (g *Gate) Blocked(ctx context.Context, targetType string) (Block, error) {
	var read *redis.MapStringStringCmd
	var clock *redis.TimeCmd
	_, err := g.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		read, clock = p.HGetAll(ctx, g.key(targetType, "state")), p.Time(ctx)
		return nil
	})
	if err != nil {
		return Block{}, fmt.Errorf("gate: blocked: %w", err)
	}
	state, now := read.Val(), clock.Val()
	if g.cfg.Clock != nil {
		now = g.cfg.Clock()
	}
	us := func(field string) time.Time {
		n, _ := strconv.ParseInt(state[field], 10, 64) // absent: long ago
		return time.UnixMicro(n).UTC()
	}
	if state["reason"] != "" {
		return Block{Reason: Reason(state["reason"]), Since: us("since")}, nil
	}
	if us("paced").After(now) {
		return Block{Reason: ReasonQuota, Since: us("paced_since")}, nil
	}
	return Block{}, nil
}
