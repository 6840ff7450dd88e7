package gate

import (
	"context"
	_ "embed"
	"fmt"

	"github.com/redis/go-redis/v9"
)

//go:embed retry.lua
var retryText string

var retryScript = redis.NewScript(retryText)

// Retry lets one call go at once as a probe, if calls of a target type are held
// for one of these reasons: somebody may just have put the cause right. It
// reports whether they are. If that probe fails, the hold goes on growing.
func (g *Gate) Retry(ctx context.Context, targetType string, reasons ...Reason) (held bool, err error) {
	args := make([]any, len(reasons))
	for i, r := range reasons {
		args[i] = string(r)
	}
	n, err := retryScript.Run(ctx, g.client, []string{g.key(targetType, "state")}, args...).Int()
	if err != nil {
		return false, fmt.Errorf("gate: retry: %w", err)
	}
	return n == 1, nil
}
