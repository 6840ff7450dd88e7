package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// memory plays Redis within a client, which so never reaches for the network. It
// knows just what the gateway asks for a job that comes whole; everything else is
// an error, so that a gateway which has come to ask more is not measured with half
// of it left out. It counts what it is asked.
type memory struct {
	mu    sync.Mutex
	jobs  map[string]map[string]string // records by key, until they are read
	trips trips
	made  int
}

// trips are round trips to Redis by what is asked in them.
type trips map[string]int

// since is what has come since earlier ones.
func (t trips) since(before trips) trips {
	more := trips{}
	for name, n := range t {
		if n -= before[name]; n > 0 {
			more[name] = n
		}
	}
	return more
}

// sum counts all of them.
func (t trips) sum() (all int) {
	for n := range maps.Values(t) {
		all += n
	}
	return all
}

// newMemory returns a client of it, too.
func newMemory() (*memory, *redis.Client) {
	m := &memory{jobs: map[string]map[string]string{}, trips: trips{}}
	client := redis.NewClient(&redis.Options{DisableIdentity: true, MaxRetries: -1})
	client.AddHook(m)
	return m, client
}

// DialHook makes no connection.
func (m *memory) DialHook(redis.DialHook) redis.DialHook {
	return func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("bench: a command has got past the Redis in memory")
	}
}

// ProcessHook answers a command.
func (m *memory) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(_ context.Context, cmd redis.Cmder) error {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.trips[asked(cmd)]++
		return m.answer(cmd)
	}
}

// ProcessPipelineHook answers several commands. Its error is the first one, as go-redis has it.
func (m *memory) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(_ context.Context, cmds []redis.Cmder) (first error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		var names []string
		for _, cmd := range cmds {
			names = append(names, asked(cmd))
			if err := m.answer(cmd); first == nil {
				first = err
			}
		}
		m.trips[strings.Join(names, ", ")]++
		return first
	}
}

// asked names a command and, by the end of its key, what it is about.
func asked(cmd redis.Cmder) string {
	name := strings.ToUpper(cmd.Name())
	key := firstKey(cmd)
	switch {
	case key == "":
		return name
	case strings.HasPrefix(key, "asynq:"):
		return name + " of asynq"
	default:
		return name + " " + key[strings.LastIndexByte(key, ':')+1:]
	}
}

// firstKey is "" where a command has none.
func firstKey(cmd redis.Cmder) string {
	at := 1
	if cmd.Name() == "evalsha" {
		at = 3 // behind the hash and the number of keys
	}
	if args := cmd.Args(); len(args) > at {
		return fmt.Sprint(args[at])
	}
	return ""
}

// answer answers a command as an empty Redis does. mu is held.
func (m *memory) answer(cmd redis.Cmder) error {
	key := firstKey(cmd)
	switch cmd := cmd.(type) {
	case *redis.StringCmd:
		switch cmd.Name() {
		case "get":
			cmd.SetErr(redis.Nil)
			return redis.Nil
		case "info":
			cmd.SetVal("role:master\r\nconnected_slaves:0\r\n")
			return nil
		}
	case *redis.IntCmd:
		switch cmd.Name() {
		case "zadd", "hset", "sadd":
			cmd.SetVal(1)
			return nil
		case "exists":
			cmd.SetVal(0)
			return nil
		}
	case *redis.MapStringStringCmd:
		if cmd.Name() == "hgetall" {
			cmd.SetVal(m.jobs[key])
			delete(m.jobs, key)
			return nil
		}
	case *redis.TimeCmd:
		cmd.SetVal(time.Now())
		return nil
	case *redis.Cmd:
		if done := m.script(cmd, key); done {
			return nil
		}
	}
	err := fmt.Errorf("bench: the Redis in memory does not know %s", asked(cmd))
	cmd.SetErr(err)
	return err
}

// script plays seal.lua, which makes a job, and the one that puts a task on a queue of asynq.
func (m *memory) script(cmd *redis.Cmd, key string) (done bool) {
	const (
		sealKeys  = 5
		segments  = 3 + sealKeys + 5 // argument with the number of segments: see seal.lua
		keysBegin = 2
	)
	args := cmd.Args()
	switch {
	case cmd.Name() != "evalsha":
		return false
	case strings.HasPrefix(key, "asynq:{") && strings.Contains(key, "}:t:"):
		cmd.SetVal(int64(1))
		return true
	case !strings.HasSuffix(key, ":job") || fmt.Sprint(args[keysBegin]) != strconv.Itoa(sealKeys) || len(args) <= segments:
		return false
	}
	n, ok := args[segments].(int)
	if !ok || len(args) < segments+1+n {
		return false
	}
	record := map[string]string{"created": strconv.FormatInt(time.Now().UnixMilli(), 10)}
	for pair := range slices.Chunk(args[segments+1+n:], 2) {
		record[fmt.Sprint(pair[0])] = fmt.Sprint(pair[len(pair)-1])
	}
	m.jobs[key] = record
	m.made++
	cmd.SetVal("created")
	return true
}

// asks is what the Redis in memory was asked so far.
type asks struct {
	Trips trips `json:"trips"`
	Made  int   `json:"made"` // jobs
}

func (m *memory) asks() asks {
	m.mu.Lock()
	defer m.mu.Unlock()
	return asks{Trips: maps.Clone(m.trips), Made: m.made}
}
