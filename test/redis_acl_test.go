package test

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"

	"crier/internal/chatsim"
	"crier/internal/redisconn"
	"crier/internal/redistest"
)

// The users of deploy/redis/users.acl.
const (
	aclWorker   = "crier-worker"
	aclEnqueue  = "crier-enqueue"
	aclProducer = "crier-producer"
)

// aclUsers are the lines of the example file, with a password for each user, and
// changed where a test wants it.
func aclUsers(t *testing.T, change func(line string) string) (file string, lines map[string]string) {
	t.Helper()
	text, err := os.ReadFile("../deploy/redis/users.acl")
	if err != nil {
		t.Fatal(err)
	}
	lines = map[string]string{}
	all := "user default on nopass sanitize-payload ~* &* +@all\n" // the test itself
	for line := range strings.Lines(string(text)) {
		name := strings.Fields(line)[1]
		sum := sha256.Sum256([]byte("pw-" + name))
		given := strings.Replace(line, strings.Repeat("0", 64), hex.EncodeToString(sum[:]), 1)
		if given == line {
			t.Errorf("%s has a password: %s", name, line)
		}
		lines[name] = change(given)
		all += lines[name]
	}
	file = filepath.Join(t.TempDir(), "users.acl")
	if err := os.WriteFile(file, []byte(all), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, lines
}

func unchanged(line string) string { return line }

// aclURL is where a user finds the server.
func aclURL(user, addr string) string { return "redis://" + user + ":pw-" + user + "@" + addr + "/0" }

// ear hears which commands each user gives, scripts of theirs included. A user
// comes through a port of their own.
type ear struct {
	t     *testing.T
	redis string
	mu    sync.Mutex
	users map[string]string // by the address that the server sees
	used  map[string]map[string]bool
}

// listen begins to hear.
func listen(t *testing.T, redis *redistest.Server) *ear {
	t.Helper()
	e := &ear{t: t, redis: redis.Addr, users: map[string]string{}, used: map[string]map[string]bool{}}
	conn, err := net.Dial("tcp", redis.Addr)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "MONITOR\r\n"); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		e.hear(conn)
	}()
	t.Cleanup(func() {
		_ = conn.Close() // ends the hearing
		<-done
	})
	return e
}

// heard is a line of MONITOR: who says it, or lua, and up to two words.
var heard = regexp.MustCompile(`^\+[\d.]+ \[\d+ (\S+)\] "([^"]*)"(?: "([^"]*)")?`)

// hear notes what is said. What a script does follows its call.
func (e *ear) hear(conn net.Conn) {
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, 64<<20)
	last := ""
	for lines.Scan() {
		m := heard.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		command := strings.ToLower(m[2])
		if command == "memory" || command == "cluster" || command == "client" || command == "acl" || command == "script" {
			command += "|" + strings.ToLower(m[3])
		}
		e.mu.Lock()
		if m[1] != "lua" {
			last = e.users[m[1]]
		}
		if e.used[last] == nil {
			e.used[last] = map[string]bool{}
		}
		e.used[last][command] = true
		e.mu.Unlock()
	}
}

// door is an address that leads a user to the server.
func (e *ear) door(user string) string {
	e.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", e.redis)
			if err != nil {
				_ = in.Close()
				continue
			}
			e.mu.Lock()
			e.users[out.LocalAddr().String()] = user
			e.mu.Unlock()
			pass := func(to, from net.Conn) {
				_, _ = io.Copy(to, from) // until one of them hangs up
				_ = to.Close()
			}
			go pass(out, in)
			go pass(in, out)
		}
	}()
	return l.Addr().String()
}

// of are the commands that a user has given.
func (e *ear) of(user string) []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []string
	for command := range e.used[user] {
		all = append(all, command)
	}
	slices.Sort(all)
	return all
}

// aclWorld is an installation whose programs are users of few rights.
type aclWorld struct {
	*world
	ear      *ear
	lines    map[string]string
	worker   *world // with the variables of workers
	producer rawQueue
}

func newACLWorld(t *testing.T, change func(line string) string, changes ...func(*chatsim.Config)) *aclWorld {
	t.Helper()
	file, lines := aclUsers(t, change)
	redis := redistest.StartReal(t, redistest.With("aclfile", file))
	redis.StartReplica()
	w := newWorldOn(t, redis, changes...).with("CHAT_TOKEN=", "CHAT_CLIENT_ID=demo-client", "CHAT_CLIENT_SECRET=demo-secret")
	e := listen(t, redis)
	conn, err := redisconn.Open(aclURL(aclProducer, e.door(aclProducer)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &aclWorld{
		world: w.with("REDIS_URL=" + aclURL(aclEnqueue, e.door(aclEnqueue))), ear: e, lines: lines,
		worker:   w.with("REDIS_URL="+aclURL(aclWorker, e.door(aclWorker)), "LOG_LEVEL=debug", "CHAT_MAX_USERS=150"),
		producer: rawQueue{world: w, client: asynq.NewClientFromRedisClient(conn.Client), inspector: asynq.NewInspectorFromRedisClient(w.redis.Client())},
	}
}

// use does everything that can be done, with what the API has against it.
func (w *aclWorld) use() (programs []*process) {
	t := w.t
	hour := time.Now().Add(time.Hour).Format(time.RFC3339)
	first := w.worker.worker()
	w.send("--id", "big", "--targets", listFile(t, append(names(3000), "devil")...), "--text", "hello", "--exclude", listFile(t, "user-1x"))
	w.send("--id", "late", "--target", "u1", "--text", "hello", "--send-at", time.Now().Add(2*time.Second).Format(time.RFC3339Nano))
	w.send("--id", "rated", "--targets", listFile(t, names(60)...), "--text", "hello", "--max-rate", "20")
	w.send("--id", "held", "--targets", listFile(t, names(400)...), "--text", "hello", "--on-unknown", "hold")
	w.send("--id", "over", "--target", "u1", "--text", "hello", "--send-at", hour)
	w.send("--id", "photo", "--target", "u1", "--type", "img", "--attach", attachment(t, "photo.png", picture(t)))
	w.send("--id", "code", "--target", "u1", "--text", "hello", "--priority", "urgent")
	w.succeed("plan", "--target", "u1", "--text", "hello")
	w.succeed("pause", "big")
	w.succeed("status", "big")
	w.succeed("resume", "big")
	w.succeed("delete", "over")

	many := `{"id":"many","target_type":"users","target":` + encode(t, names(12_000)) + `,"msg":{"type":"txt","msg":"hello"}}`
	w.producer.put(many)
	w.producer.put(many)
	w.producer.put(sendTo("u2"), asynq.ProcessIn(time.Second))
	w.producer.put(`{"nobody":1}`)

	g := w.serve("--log-level", "debug")
	g.wants(202, "POST", "/v1/jobs", sendTo("u4"))
	g.wants(202, "POST", "/v1/jobs", loadingJob, "Idempotency-Key", "parts")
	for range 2 {
		g.list(200, "parts", strings.Join(names(12_000), "\n"))
	}
	g.wants(202, "POST", "/v1/jobs/parts/start", "")
	g.wants(202, "POST", "/v1/jobs", loadingJob, "Idempotency-Key", "never")
	g.list(200, "never", "u5\n")
	g.wants(200, "POST", "/v1/jobs/never/cancel", "")
	for _, path := range []string{"/v1/jobs", "/readyz", "/metrics"} {
		g.wants(200, "GET", path, "")
	}

	first.signal(t, syscall.SIGKILL)
	second := w.worker.worker()
	for _, id := range []string{"big", "late", "rated", "photo", "code", "held", "parts", "many"} {
		w.over(id)
	}
	eventually(t, "the payload is rejected", func() bool { return strings.Contains(w.succeed("rejected", "--json"), "nobody") })
	w.producer.drained()
	w.succeed("resend", "big", "--outcome", "failed")
	w.succeed("results", "big")
	w.succeed("list")
	if status, text := get(t, second.admin(t)+"/metrics"); status != 200 || !strings.Contains(text, "crier_queue_scrape_success 1") {
		t.Errorf("the worker's metrics: %d, %s", status, text)
	}
	w.lookAtQueues(second.admin(t))
	w.stop(second)
	for id, list := range map[string][]string{"long": names(20_000), "short": {"u1"}} { // whom no worker ends
		w.send("--id", id, "--targets", listFile(t, list...), "--text", "hello")
		w.succeed("cancel", id)
	}
	w.stop(g.process)
	return []*process{first, second, g.process}
}

// lookAtQueues opens every page of the queues.
func (w *aclWorld) lookAtQueues(admin string) {
	w.t.Helper()
	pages := []string{"/", "/api/queues", "/api/queue_stats", "/api/servers", "/api/redis_info", "/api/scheduler_entries"}
	for _, queue := range []string{"bulk", "urgent", "intake"} {
		path := "/api/queues/crier-" + queue
		pages = append(pages, path, path+"/groups")
		for _, state := range []string{"active", "pending", "scheduled", "retry", "archived", "completed"} {
			pages = append(pages, path+"/"+state+"_tasks")
		}
	}
	for _, page := range pages {
		if status, text := get(w.t, admin+"/queues"+page); status != 200 {
			w.t.Errorf("%s: %d %s", page, status, text)
		}
	}
}

// over waits for a job's end, whatever became of it.
func (w *aclWorld) over(id string) {
	w.t.Helper()
	eventually(w.t, id+" ends", func() bool { return w.status(id).FinishedAt != nil })
}

// misbehaving is an API that refuses, loses answers and has a quota.
func misbehaving(t *testing.T) []func(*chatsim.Config) {
	return []func(*chatsim.Config){quota(t, "users=40/s"), func(c *chatsim.Config) {
		c.Poison = []string{"devil"}
		c.Faults = []chatsim.Fault{{Kind: chatsim.FaultResetAfter, Percent: 4}, {Kind: chatsim.FaultUnavailable, Percent: 4}}
	}}
}

// seldomUsed are the commands to which the test below does not come, or only by
// chance, and what needs them.
func seldomUsed() map[string][]string {
	const (
		brokenOff = "hkeys"   // what is left of a list that broke off, and of a job that was loading for a day
		strays    = "zscore"  // index entries whose jobs are gone for ten minutes
		newQueue  = "lindex"  // a queue that asynq does not know yet, or with a broken task in it
		orphaned  = "hexists" // a cancelled job whose worker is gone, with no other there
	)
	return map[string][]string{aclWorker: {brokenOff, strays}, aclEnqueue: {brokenOff, newQueue, orphaned}}
}

// The users of the example file can do all that is to be done, and have no right
// that nothing needs.
func TestLeastRights(t *testing.T) {
	t.Parallel()
	w := newACLWorld(t, unchanged, misbehaving(t)...)
	programs := w.use()
	w.checkAllowed(w.redis, programs...)
	for user, line := range w.lines {
		var may []string
		for _, word := range strings.Fields(line) {
			if command, ok := strings.CutPrefix(word, "+"); ok {
				may = append(may, command)
			}
		}
		did := slices.DeleteFunc(w.ear.of(user), func(c string) bool { return c == "hello" || c == "auth" }) // anybody may
		for _, command := range seldomUsed()[user] {
			if !slices.Contains(did, command) {
				did = append(did, command)
			}
		}
		slices.Sort(did)
		if diff := cmp.Diff(did, may); diff != "" {
			t.Errorf("%s (-uses +may):\n%s", user, diff)
		}
	}
}

// checkAllowed looks for rights that were missing.
func (w *world) checkAllowed(redis *redistest.Server, programs ...*process) {
	w.t.Helper()
	denied, err := redis.Client().Do(w.t.Context(), "ACL", "LOG").Slice()
	if err != nil || len(denied) > 0 {
		w.t.Errorf("denied: %v, %v", denied, err)
	}
	for _, p := range programs {
		for line := range strings.Lines(p.err.String()) {
			if strings.Contains(line, "NOPERM") {
				w.t.Errorf("%.500s", line)
			}
		}
	}
}

// Who may not ask what the server is finds no fault with it, and all else works.
func TestWithoutInfo(t *testing.T) {
	t.Parallel()
	w := newACLWorld(t, func(line string) string { return strings.Replace(line, " +info", "", 1) })
	worker, gateway := w.worker.worker(), w.serve()
	w.send("--target", "u1", "--text", "hello", "--wait")
	gateway.wants(202, "POST", "/v1/jobs", sendTo("u2"))
	eventually(t, "all are sent to", func() bool { return len(w.journal(chatsim.Users)) == 2 })
	status, metrics := get(t, worker.admin(t)+"/metrics")
	if status != 200 || !strings.Contains(metrics, "crier_redis_up 1") || strings.Contains(metrics, "crier_redis_memory_used_bytes") {
		t.Errorf("%d %s", status, metrics)
	}
	if slices.Contains(w.ear.of(aclEnqueue), "wait") {
		t.Error("a replica was waited for that nobody has told of")
	}
	if log := worker.err.String(); strings.Contains(log, "NOPERM") || !strings.Contains(log, `"version":""`) {
		t.Error("the worker's log tells what it need not, or not what it should")
	}
}

// inACluster are the rights that workers and enqueue need on top in a cluster;
// those that are asked for while slots are moved are not tried here.
const inACluster = "+asking +cluster|slots"

// A cluster's client asks where the slots are.
func TestLeastRightsInACluster(t *testing.T) {
	t.Parallel()
	if page, err := os.ReadFile("../docs/redis.md"); err != nil || !strings.Contains(string(page), "`"+inACluster+"`") {
		t.Errorf("docs/redis.md does not tell of %s: %v", inACluster, err)
	}
	file, _ := aclUsers(t, func(line string) string { return strings.Replace(line, "\n", " "+inACluster+"\n", 1) })
	c := redistest.StartCluster(t, 3, true, redistest.With("aclfile", file))
	at := func(user string) string {
		return "REDIS_URL=" + strings.Replace(c.URL, "://", "://"+user+":pw-"+user+"@", 1)
	}
	w := newWorldOn(t, c.Masters[0]).with(at(aclEnqueue))
	worker, gateway := w.with(at(aclWorker)).worker(), w.serve()
	list := names(12_000)
	w.send("--id", "j", "--targets", listFile(t, list...), "--text", "hello")
	w.send("--target", "code", "--text", "hello", "--priority", "urgent", "--wait")
	gateway.wants(202, "POST", "/v1/jobs", sendTo("late"))
	gateway.wants(200, "GET", "/metrics", "")
	w.checkNobodyLost("j", chatsim.Users, list, 0)
	w.succeed("list")
	w.succeed("delete", "j")
	if status, text := get(t, worker.admin(t)+"/metrics"); status != 200 || !strings.Contains(text, "crier_queue_scrape_success 1") {
		t.Errorf("the worker's metrics: %d, %s", status, text)
	}
	for _, master := range c.Masters {
		w.checkAllowed(master, worker, gateway.process)
	}
}
