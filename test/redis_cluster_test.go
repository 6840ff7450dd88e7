package test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"crier/internal/chatsim"
	"crier/internal/redistest"
)

// pacedWorld is one whose Redis is several servers, and in which a campaign of
// 20,000 takes seven seconds.
func pacedWorld(t *testing.T, redis *redistest.Several) *world {
	t.Helper()
	const limits = "users=125/s;chatgroups=125/s;chatrooms=125/s"
	w := newWorldOn(t, redis.Masters[0], quota(t, limits), func(c *chatsim.Config) { c.Latency = 20 * time.Millisecond })
	return w.with("REDIS_URL="+redis.URL, "CHAT_QUOTA="+limits, "CHAT_MAX_USERS=25", "CHAT_MAX_GROUPS=25", "CHAT_MAX_ROOMS=25", "CONCURRENCY=8")
}

// pacedBatch is how many targets a call of a pacedWorld has.
const pacedBatch = 25

// idOn finds an id of a job whose keys one master of a cluster has.
func idOn(t *testing.T, c *redistest.Several, prefix string, master *redistest.Server) string {
	t.Helper()
	for i := range 100 {
		if id := fmt.Sprintf("%s-%d", prefix, i); c.Owner(t, "{"+id+"}") == master {
			return id
		}
	}
	t.Fatal("no id belongs to the master")
	return ""
}

// numbers makes so many ids as groups and rooms have.
func numbers(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprint(66_021_836_783_617 + i)
	}
	return list
}

// atWork waits until so many more calls are made.
func (w *world) atWork(calls int64) {
	w.t.Helper()
	until := w.sim.Stats().Calls + calls
	eventually(w.t, "calls are made", func() bool { return w.sim.Stats().Calls >= until })
}

// checkNobodyLost waits for a job's end and holds its books against the journal:
// everybody is sent to, and at most so many times again as is told, and lost more.
func (w *world) checkNobodyLost(id string, kind chatsim.TargetType, list []string, lost int) {
	w.t.Helper()
	eventually(w.t, "Redis tells of "+id, func() bool { return w.enqueue("status", id).code == 0 })
	s := w.wait(id, 0)
	if s.Sent != len(list) || s.State != "finished" {
		w.t.Errorf("%+v", s)
	}
	rows, again := w.rows(id), 0
	for _, name := range list {
		n := w.sim.Delivered(kind, name)
		if again += n - 1; n == 0 || rows[name].Outcome != "sent" {
			w.t.Fatalf("%s was delivered to %d times, and is told as %+v", name, n, rows[name])
		}
	}
	if len(rows) != len(list) || again > s.Resent+lost {
		w.t.Errorf("%d rows, %d deliveries again: %+v", len(rows), again, s)
	}
	w.t.Logf("%s: %d targets, %d delivered again, %d told as sent again", id, len(list), again, s.Resent)
}

// repeat sends until it has succeeded: whoever knows its id may.
func (w *world) repeat(args ...string) {
	w.t.Helper()
	eventually(w.t, "a job is taken", func() bool { return w.enqueue(append([]string{"send"}, args...)...).code == 0 })
}

// A cluster whose masters die and come back, one after the other, in the middle of
// campaigns of all types of targets. With every write on its disk nothing is
// forgotten, and all goes on in the same worker.
func TestClusterInACampaign(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, 3, false, redistest.AOF())
	w := pacedWorld(t, c)
	worker := w.worker()
	lists := map[string][]string{}
	kinds := map[string]chatsim.TargetType{}
	for i, kind := range []chatsim.TargetType{chatsim.Users, chatsim.Groups, chatsim.Rooms} {
		id := idOn(t, c, string(kind), c.Masters[i])
		if lists[id], kinds[id] = numbers(10_000), kind; kind == chatsim.Users {
			lists[id] = names(12_000)
		}
		w.send("--id", id, "--target-type", string(kind), "--targets", listFile(t, lists[id]...), "--text", "hello")
	}
	for i, master := range c.Masters {
		w.atWork(20)
		master.Kill()
		if i == 0 {
			other := c.Masters[1].Client()
			eventually(t, "the cluster knows that it is not whole", func() bool {
				return strings.Contains(other.ClusterInfo(t.Context()).Val(), "cluster_state:fail")
			})
		}
		master.Restart()
		code := fmt.Sprint("code-", i)
		w.repeat("--id", code, "--target", code, "--text", "hello", "--priority", "urgent")
		w.checkNobodyLost(code, chatsim.Users, []string{code}, 0)
	}
	for id, list := range lists {
		w.checkNobodyLost(id, kinds[id], list, 0)
	}
	w.stop(worker)
}

// A replica takes the place of the master that has the campaign.
func TestClusterFailsOver(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, 3, true)
	w := pacedWorld(t, c)
	worker := w.worker()
	id := idOn(t, c, "j", c.Masters[0])
	list := names(12_000)
	w.send("--id", id, "--targets", listFile(t, list...), "--text", "hello")
	w.atWork(100)
	c.Masters[0].Kill()
	promoted := c.Replica.Client()
	eventually(t, "the replica is a master", func() bool { return isMaster(t, promoted) })
	w.repeat("--id", "late", "--target", "late", "--text", "hello", "--priority", "urgent")
	w.checkNobodyLost("late", chatsim.Users, []string{"late"}, 0)
	w.checkNobodyLost(id, chatsim.Users, list, lostInAFailover)
	w.stop(worker)
}

// lostInAFailover is how many targets may be sent to again without being told: of
// the batches whose marks the replica did not get before the master died. It gets
// them within milliseconds, if the machine lets it.
const lostInAFailover = 2 * 8 * pacedBatch

func isMaster(t *testing.T, client redis.UniversalClient) bool {
	t.Helper()
	info, err := client.Info(t.Context(), "replication").Result()
	return err == nil && strings.Contains(info, "role:master")
}
