package redistest

import (
	"context"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"crier/internal/procs"
)

// Several are servers that stand together.
type Several struct {
	URL     string    // of all of them, for redisconn.Open
	Masters []*Server // as they were at the start
	Replica *Server   // of the first master; nil = there is none
}

// SentinelName is the name under which sentinels know the master.
const SentinelName = "main"

// StartReplicated starts a master with a replica and three sentinels, two of
// which have to agree before they make the replica the master: some three
// seconds after the master has fallen silent. Options are for both servers.
func StartReplicated(t testing.TB, opts ...Option) *Several {
	t.Helper()
	master := StartReal(t, opts...)
	s := &Several{Masters: []*Server{master}, Replica: master.StartReplica(opts...)}
	var hosts []string
	var watchers []redis.UniversalClient
	for range 3 {
		sentinel := startSentinel(t, procs.Watch{Name: SentinelName, Master: master.Addr, Quorum: 2})
		hosts, watchers = append(hosts, sentinel.Addr), append(watchers, sentinel.Client())
	}
	for _, w := range watchers {
		eventually(t, "the sentinels know each other and the replica", func() bool {
			told, err := w.Do(t.Context(), "SENTINEL", "MASTER", SentinelName).StringSlice()
			known := map[string]string{}
			for i := 0; i+1 < len(told); i += 2 {
				known[told[i]] = told[i+1]
			}
			return err == nil && known["num-other-sentinels"] == "2" && known["num-slaves"] == "1"
		})
	}
	s.URL = "redis-sentinel://" + strings.Join(hosts, ",") + "/0?master=" + SentinelName
	return s
}

// StartReplica starts a replica of the server, and waits until it has all that
// the server has.
func (s *Server) StartReplica(opts ...Option) *Server {
	s.t.Helper()
	host, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		s.t.Fatalf("redistest: %v", err)
	}
	s.syncAtOnce()
	replica := StartReal(s.t, append([]Option{With("replicaof", host, port)}, opts...)...)
	s.awaitReplica(replica)
	return replica
}

// syncAtOnce lets a replica begin without waiting for others.
func (s *Server) syncAtOnce() {
	s.t.Helper()
	if err := s.Client().ConfigSet(s.t.Context(), "repl-diskless-sync-delay", "0").Err(); err != nil {
		s.t.Fatalf("redistest: %v", err)
	}
}

// awaitReplica waits until both sides say that the replica is in step.
func (s *Server) awaitReplica(replica *Server) {
	s.t.Helper()
	says := func(client redis.UniversalClient, text string) bool {
		info, err := client.Info(s.t.Context(), "replication").Result()
		return err == nil && strings.Contains(info, text)
	}
	master, slave := s.Client(), replica.Client()
	eventually(s.t, "the replica is in step", func() bool {
		return says(slave, "master_link_status:up") && says(master, "state=online")
	})
}

// StartCluster starts a cluster of masters that share the slots evenly, and,
// with replica, one that takes the place of the first of them some three seconds
// after that has fallen silent. Options are for all servers.
func StartCluster(t testing.TB, masters int, replica bool, opts ...Option) *Several {
	t.Helper()
	opts = append([]Option{With("cluster-enabled", "yes"), With("cluster-node-timeout", "1500")}, opts...)
	c := &cluster{t: t}
	s := &Several{}
	for i := range masters {
		s.Masters = append(s.Masters, c.node(opts))
		const slots = 16384
		c.must(c.clients[i].ClusterAddSlotsRange(t.Context(), i*slots/masters, (i+1)*slots/masters-1).Err())
	}
	if replica {
		s.Replica = c.node(opts)
	}
	hosts := make([]string, len(c.nodes))
	for i, n := range c.nodes {
		hosts[i] = n.Addr
		host, port, err := net.SplitHostPort(n.Addr)
		c.must(err)
		c.must(c.clients[0].ClusterMeet(t.Context(), host, port).Err())
	}
	c.await("all know each other", "cluster_known_nodes:"+strconv.Itoa(len(c.nodes)))
	if replica {
		c.nodes[0].syncAtOnce()
		first, err := c.clients[0].ClusterMyID(t.Context()).Result()
		c.must(err)
		c.must(c.clients[masters].ClusterReplicate(t.Context(), first).Err())
		s.Masters[0].awaitReplica(s.Replica)
	}
	c.await("the cluster is up", "cluster_state:ok")
	s.URL = "redis-cluster://" + strings.Join(hosts, ",")
	return s
}

// cluster is one that is being put together.
type cluster struct {
	t       testing.TB
	nodes   []*Server
	clients []*redis.Client
}

// node starts one more server, with an epoch of its own, so that the servers
// need not argue about it.
func (c *cluster) node(opts []Option) *Server {
	c.t.Helper()
	s := StartReal(c.t, opts...)
	client := s.Client().(*redis.Client)
	c.nodes, c.clients = append(c.nodes, s), append(c.clients, client)
	c.must(client.Do(c.t.Context(), "CLUSTER", "SET-CONFIG-EPOCH", len(c.nodes)).Err())
	return s
}

func (c *cluster) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatalf("redistest: cluster: %v", err)
	}
}

// await waits until every server tells this of the cluster.
func (c *cluster) await(what, text string) {
	c.t.Helper()
	for _, client := range c.clients {
		eventually(c.t, what, func() bool {
			info, err := client.ClusterInfo(c.t.Context()).Result()
			return err == nil && strings.Contains(info, text+"\r\n")
		})
	}
}

// Owner is the master that has the slot of a key. In a cluster that is asked of
// the servers as they stood at the start.
func (s *Several) Owner(t testing.TB, key string) *Server {
	t.Helper()
	for _, m := range s.Masters {
		err := m.Client().Exists(t.Context(), key).Err()
		if err == nil {
			return m
		}
		if _, elsewhere := redis.IsMovedError(err); !elsewhere {
			t.Fatalf("redistest: %v", err)
		}
	}
	t.Fatalf("redistest: no master has %s", key)
	return nil
}

// eventually waits until ok holds.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("redistest: never: %s", what)
		case <-ticker.C:
		}
	}
}
