package test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"crier/internal/chatsim"
	"crier/internal/redistest"
)

// A master is killed in the middle of a campaign: sentinels make its replica the
// master, and the same worker goes on.
func TestSentinelsFailOver(t *testing.T) {
	t.Parallel()
	s := redistest.StartReplicated(t)
	w := pacedWorld(t, s)
	worker := w.worker()
	list := names(20_000)
	id := w.send("--targets", listFile(t, list...), "--text", "hello")
	w.atWork(200)
	pid := worker.cmd.Process.Pid
	// What is accepted is on the replica, however late that was.
	last := w.send("--target", "last", "--text", "hello")
	s.Masters[0].Kill()
	began := time.Now()
	w.repeat("--id", "late", "--target", "late", "--text", "hello", "--priority", "urgent")
	t.Logf("a job was taken %v after the master died", time.Since(began).Round(time.Millisecond))
	w.checkNobodyLost("late", chatsim.Users, []string{"late"}, 0)
	w.checkNobodyLost(last, chatsim.Users, []string{"last"}, 0)
	w.checkNobodyLost(id, chatsim.Users, list, lostInAFailover)
	if err := syscall.Kill(pid, 0); err != nil {
		t.Errorf("the worker is gone: %v", err)
	}
	w.stop(worker)
}

// A job is taken also while the replica does not answer, and that is told.
func TestReplicaDoesNotAnswer(t *testing.T) {
	t.Parallel()
	master := redistest.StartReal(t)
	replica := master.StartReplica()
	w := newWorldOn(t, master)
	w.worker()
	const warning = "only the master is known to have it"
	if got := w.enqueue("send", "--target", "u1", "--text", "hello"); got.code != 0 || strings.Contains(got.err, warning) {
		t.Errorf("with a replica: %+v", got)
	}
	gateway := w.serve()
	if err := syscall.Kill(replica.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	got := w.enqueue("send", "--target", "u2", "--text", "hello")
	if got.code != 0 || strings.Count(got.err, warning) != 1 || strings.TrimSpace(got.out) == "" {
		t.Errorf("with a replica that does not answer: %+v", got)
	}
	for _, name := range []string{"u3", "u4"} {
		gateway.wants(202, "POST", "/v1/jobs", sendTo(name))
	}
	if log := gateway.process.err.String(); strings.Count(log, warning) != 1 {
		t.Errorf("the gateway tells %s", log)
	}
	w.rawQueue().put(sendTo("u5"))
	eventually(t, "all are sent to", func() bool { return len(w.journal(chatsim.Users)) == 5 })
}
