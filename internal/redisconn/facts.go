package redisconn

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// minVersion is the oldest server that does.
var minVersion = version{6, 2}

// TooOldError says that a server is older than this program can work with.
type TooOldError struct{ Have, Need string }

func (e *TooOldError) Error() string {
	return fmt.Sprintf("redisconn: the server is Redis %s, at least %s is needed", e.Have, e.Need)
}

// Facts are what a server tells about itself. A cluster tells the worst of each
// of its masters. What it keeps from this user (ACL) is the zero value.
type Facts struct {
	// Embedded says that it is an in-process server, of this process or another: it keeps nothing.
	Embedded bool
	// Version as in "7.2.4"; "" = not told.
	Version string
	// MaxMemory of the fullest master in bytes; 0 = no limit, or not told.
	MaxMemory int64
	// MemoryShare is the part of MaxMemory in use; 0 = there is no limit, or not told.
	MemoryShare float64
	// MaxMemoryPolicy as in redis.conf, such as "noeviction"; "" = not told.
	MaxMemoryPolicy string
	// MayEvict says that the policy lets the server delete keys when memory is
	// short, also if no limit is set today.
	MayEvict bool
	// AppendOnly is "yes" or "no", as in redis.conf: whether writes are logged to
	// disk; "" = not told.
	AppendOnly string
	// Uptime of the server, in whole seconds; 0 = not told.
	Uptime time.Duration
	// Load is what it does and how it fares; zero where the version is not told.
	Load Load
}

// Load changes all the time.
type Load struct {
	UsedMemory  int64 // bytes, of the fullest master
	Clients     int64 // connections, of all masters together
	Commands    int64 // since the start, of all masters together
	EvictedKeys int64 // likewise
	Replicas    int64 // of the master that has the fewest
	NotSaved    bool  // the last write to the log of writes failed, or the last snapshot
}

// noEviction is the only policy under which no key is lost.
const noEviction = "noeviction"

// Check asks the server, in a cluster every master, for its facts, and so tells
// whether it can be reached. With a *TooOldError the facts are valid.
func (c *Conn) Check(ctx context.Context) (Facts, error) {
	var facts Facts
	var err error
	if cluster, ok := c.Client.(*redis.ClusterClient); ok {
		facts, err = checkCluster(ctx, cluster)
	} else {
		facts, err = checkServer(ctx, c.Client)
	}
	if err != nil {
		return Facts{}, fmt.Errorf("redisconn: check: %w", err)
	}
	if facts.Version != "" && parseVersion(facts.Version).less(minVersion) {
		return facts, &TooOldError{Have: facts.Version, Need: fmt.Sprintf("%d.%d", minVersion[0], minVersion[1])}
	}
	return facts, nil
}

func checkCluster(ctx context.Context, client *redis.ClusterClient) (Facts, error) {
	var mu sync.Mutex
	var worst *Facts
	err := client.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error {
		facts, err := checkServer(ctx, master)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		if worst == nil {
			worst = &facts
		} else {
			worst.merge(facts)
		}
		return nil
	})
	if err == nil && worst == nil {
		err = errors.New("the cluster has no master")
	}
	if err != nil {
		return Facts{}, err
	}
	return *worst, nil
}

// merge takes over what is worse in another master.
func (f *Facts) merge(other Facts) {
	if parseVersion(other.Version).less(parseVersion(f.Version)) {
		f.Version = other.Version
	}
	if other.MayEvict && !f.MayEvict {
		f.MayEvict, f.MaxMemoryPolicy = true, other.MaxMemoryPolicy
	}
	unlimited := f.MaxMemory == 0 && (other.MaxMemory > 0 || other.Load.UsedMemory > f.Load.UsedMemory)
	if unlimited || other.MemoryShare > f.MemoryShare {
		f.MaxMemory, f.MemoryShare, f.Load.UsedMemory = other.MaxMemory, other.MemoryShare, other.Load.UsedMemory
	}
	f.Load.Clients += other.Load.Clients
	f.Load.Commands += other.Load.Commands
	f.Load.EvictedKeys += other.Load.EvictedKeys
	f.Load.Replicas = min(f.Load.Replicas, other.Load.Replicas)
	f.Load.NotSaved = f.Load.NotSaved || other.Load.NotSaved
	if other.AppendOnly == "no" {
		f.AppendOnly = "no"
	}
	f.Uptime = min(f.Uptime, other.Uptime)
}

func checkServer(ctx context.Context, client redis.Cmdable) (Facts, error) {
	// All sections, as only Redis 7 takes a choice of several.
	text, err := client.Info(ctx).Result()
	if redis.IsPermissionError(err) {
		return Facts{}, nil // it is there, and that is all it tells this user
	}
	if err != nil {
		return Facts{}, err
	}
	info := parseInfo(text)
	if info["loading"] == "1" {
		return Facts{}, errors.New("the server is still loading its data")
	}
	if info["redis_version"] == "" {
		// Only miniredis, the embedded server, knows no version.
		return Facts{Embedded: true, MaxMemoryPolicy: noEviction, AppendOnly: "no"}, nil
	}
	number := func(name string) int64 {
		n, _ := strconv.ParseInt(info[name], 10, 64) // absent = not told = 0
		return n
	}
	maxMemory, used := number("maxmemory"), number("used_memory")
	share := 0.0
	if maxMemory > 0 {
		share = float64(used) / float64(maxMemory)
	}
	policy := info["maxmemory_policy"]
	return Facts{
		Version:         info["redis_version"],
		MaxMemory:       maxMemory,
		MemoryShare:     share,
		MaxMemoryPolicy: policy,
		MayEvict:        policy != "" && policy != noEviction,
		AppendOnly:      map[string]string{"0": "no", "1": "yes"}[info["aof_enabled"]],
		Uptime:          time.Duration(number("uptime_in_seconds")) * time.Second,
		Load: Load{
			UsedMemory: used, Clients: number("connected_clients"), Commands: number("total_commands_processed"),
			EvictedKeys: number("evicted_keys"), Replicas: number("connected_slaves"),
			NotSaved: info["rdb_last_bgsave_status"] == "err" || info["aof_last_write_status"] == "err" || info["aof_last_bgrewrite_status"] == "err",
		},
	}, nil
}

// parseInfo reads the "name:value" lines of INFO.
func parseInfo(text string) map[string]string {
	info := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[name] = value
		}
	}
	return info
}

// version is major, minor and patch.
type version [3]int

// parseVersion reads as much of text as is a version.
func parseVersion(text string) (v version) {
	for i, part := range strings.SplitN(text, ".", len(v)) {
		v[i], _ = strconv.Atoi(part)
	}
	return v
}

func (v version) less(other version) bool { return slices.Compare(v[:], other[:]) < 0 }
