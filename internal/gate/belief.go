package gate

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// Belief is what the gate holds for the quota of a target type, in one unit.
type Belief struct {
	Scope   Scope
	Rate    float64 // units a second; 0 = no limit is known
	Learned bool    // from what the API has refused, else it is configured
	Used    float64 // part of the rate that was granted in the last half minute or so; 0 where no limit is known
}

// flowMemory is the time over which grant.lua averages what it grants.
const flowMemory = 30 * time.Second

// Beliefs returns what the fleet believes of the quota in calls and in targets,
// where known is configured. That is told and not taken from the gate's Config: a
// process that sends nothing has no quota configured.
func (g *Gate) Beliefs(ctx context.Context, targetType string, known Quotas) ([]Belief, error) {
	now, err := g.time(ctx)
	if err != nil {
		return nil, err
	}
	scopes := []Scope{ScopeCalls, ScopeTargets}
	paces := make([]*redis.SliceCmd, len(scopes))
	_, err = g.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, key := range g.paces(targetType) {
			paces[i] = p.HMGet(ctx, key, "rate", "grow", "flow", "at")
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("gate: beliefs: %w", err)
	}
	beliefs := make([]Belief, len(scopes))
	for i, scope := range scopes {
		b := Belief{Scope: scope, Rate: known.PerSecond(targetType, scope)}
		number := func(field int) float64 {
			text, _ := paces[i].Val()[field].(string)
			n, _ := strconv.ParseFloat(text, 64) // absent: nothing is known
			return n
		}
		if rate := number(0); rate > 0 && number(1) == 0 && (b.Rate == 0 || rate < b.Rate) {
			b.Rate, b.Learned = rate, true
		}
		if b.Rate > 0 {
			silent := now.Sub(time.UnixMicro(int64(number(3)))).Seconds()
			b.Used = number(2) * math.Exp(-max(silent, 0)/flowMemory.Seconds()) / b.Rate
		}
		beliefs[i] = b
	}
	return beliefs, nil
}

// PerSecond is what a known quota allows in a second, by its narrowest rate in
// calls or in targets; 0 = it has none.
func (q Quotas) PerSecond(targetType string, scope Scope) float64 {
	least := 0.0
	for _, r := range q[targetType] {
		perSecond := float64(r.N) / r.Window.Seconds()
		if r.Targets == (scope == ScopeTargets) && (least == 0 || perSecond < least) {
			least = perSecond
		}
	}
	return least
}
