package ledger

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"crier/internal/redisconn"
	"crier/internal/redistest"
)

// replicas tells how many replicas wrote of a job's key, and counts WAITs.
func waits(t *testing.T, client redis.UniversalClient) int {
	t.Helper()
	info := must[string](t)(client.Info(t.Context(), "commandstats").Result())
	return strings.Count(info, "cmdstat_wait:")
}

// stopped stops a server for the test, and lets it go on.
func stopped(t *testing.T, s *redistest.Server) (goOn func()) {
	t.Helper()
	signal := func(sig syscall.Signal) {
		if err := syscall.Kill(s.PID, sig); err != nil {
			t.Fatal(err)
		}
	}
	signal(syscall.SIGSTOP)
	return func() { signal(syscall.SIGCONT) }
}

func TestReplicated(t *testing.T) {
	t.Parallel()
	master := redistest.StartReal(t)
	client := master.Client()
	l := newLedger(t, client)
	sealed(t, l, Spec{ID: "a"}, 1)
	if err := l.Replicated(t.Context(), "a"); err != nil || waits(t, client) > 0 {
		t.Errorf("without a replica: %v", err)
	}

	replica := master.StartReplica()
	l = newLedger(t, client) // which has not looked yet
	goOn := stopped(t, replica)
	sealed(t, l, Spec{ID: "b"}, 1)
	if err := l.Replicated(t.Context(), "b"); !errors.Is(err, errNoReplica) {
		t.Errorf("with a replica that does not answer: %v", err)
	}
	began := time.Now()
	if err := l.Replicated(t.Context(), "b"); !errors.Is(err, errNoReplica) || time.Since(began) > replicaWait/2 {
		t.Errorf("again: %v after %v", err, time.Since(began))
	}
	goOn()

	l = newLedger(t, client)
	for _, id := range []string{"c", "d", "e"} {
		sealed(t, l, Spec{ID: id}, 1, 1)
		if err := l.Replicated(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		there := replica.Client().Exists(t.Context(), l.keys(id).job, l.keys(id).names, l.indexKey(), l.activeKey())
		if n := must[int64](t)(there.Result()); n != 4 {
			t.Errorf("the replica has %d of 4 keys", n)
		}
	}
	eventually(t, "nothing is left of the asking", func() bool {
		return must[int64](t)(client.Exists(t.Context(), l.besides(l.keys("c").job)).Result()) == 0
	})
}

// In a cluster the entries of a job in the indexes stand on other masters.
func TestReplicatedInACluster(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, 3, true)
	conn := must[*redisconn.Conn](t)(redisconn.Open(c.URL))
	t.Cleanup(func() { _ = conn.Close() })
	l := newLedger(t, conn.Client)
	for _, key := range []string{l.keys("a").job, l.indexKey(), l.activeKey(), "x{y}z"} {
		if slot(key) != slot(l.besides(key)) {
			t.Errorf("%s is not besides %s", l.besides(key), key)
		}
	}
	ids := map[bool]string{} // by whether the master of the job has a replica
	for _, id := range strings.Split("abcdefghijklmnopqrstuvwxyz", "") {
		ids[c.Owner(t, l.keys(id).job) == c.Masters[0]] = id
	}
	goOn := stopped(t, c.Replica)
	defer goOn()
	for _, replicated := range []bool{false, true} {
		sealed(t, l, Spec{ID: ids[replicated]}, 1)
	}
	if err := l.Replicated(t.Context(), ids[true]); !errors.Is(err, errNoReplica) {
		t.Errorf("on the master with a replica that does not answer: %v", err)
	}
}
