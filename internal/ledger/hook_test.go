package ledger

import (
	"context"
	"net"
	"slices"
	"sync"

	"github.com/redis/go-redis/v9"
)

// hook sees every script call of a client and may stand in its way.
type hook struct {
	mu    sync.Mutex
	calls []scriptCall
	// around, if not nil, runs a call; what it returns is the call's error.
	around func(ctx context.Context, call scriptCall, run func() error) error
}

type scriptCall struct {
	name string // of the file
	keys []string
}

// watch hooks a client.
func watch(client redis.UniversalClient) *hook {
	h := &hook{}
	client.AddHook(h)
	return h
}

// during sets what runs calls from now on.
func (h *hook) during(around func(ctx context.Context, call scriptCall, run func() error) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.around = around
}

// count is how often a script was called.
func (h *hook) count(name string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, call := range h.calls {
		if call.name == name {
			n++
		}
	}
	return n
}

// seen are the calls so far.
func (h *hook) seen() []scriptCall {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.calls)
}

func (h *hook) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (h *hook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (h *hook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		call, ok := scriptOf(cmd)
		if !ok {
			return next(ctx, cmd)
		}
		h.mu.Lock()
		if cmd.Name() == "evalsha" { // an eval repeats an evalsha that the server did not know
			h.calls = append(h.calls, call)
		}
		around := h.around
		h.mu.Unlock()
		if around == nil {
			return next(ctx, cmd)
		}
		err := around(ctx, call, func() error { return next(ctx, cmd) })
		cmd.SetErr(err)
		return err
	}
}

// scriptFiles are the scripts by their files.
func scriptFiles() map[string]*redis.Script {
	return map[string]*redis.Script{
		"beat.lua": beatScript, "seal.lua": sealScript, "start.lua": startScript, "claim.lua": claimScript,
		"checkpoint.lua": checkpointScript, "release.lua": releaseScript, "late.lua": lateScript, "drop.lua": dropScript,
		"begin.lua": beginScript, "take.lua": takeScript, "stage.lua": stageScript, "join.lua": joinScript,
		"launch.lua": launchScript, "renew.lua": renewScript, "leave.lua": leaveScript,
		"delete.lua": deleteScript, "settle.lua": settleScript, "control.lua": controlScript,
	}
}

func scriptOf(cmd redis.Cmder) (scriptCall, bool) {
	args := cmd.Args()
	if cmd.Name() != "evalsha" && cmd.Name() != "eval" {
		return scriptCall{}, false
	}
	call := scriptCall{}
	for name, script := range scriptFiles() {
		if args[1] == script.Hash() || cmd.Name() == "eval" && redis.NewScript(args[1].(string)).Hash() == script.Hash() {
			call.name = name
		}
	}
	for _, key := range args[3 : 3+args[2].(int)] {
		call.keys = append(call.keys, key.(string))
	}
	return call, true
}
