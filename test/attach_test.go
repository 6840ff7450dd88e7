package test

import (
	"bytes"
	"encoding/json"
	"image"
	"image/color"
	"image/png"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"crier/internal/chatsim"
)

// attachment writes a file and returns its path.
func attachment(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// picture is the content of a PNG file of 40 x 30 pixels.
func picture(t *testing.T) string {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewPaletted(image.Rect(0, 0, 40, 30), color.Palette{color.Black})); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// messages are the msg objects that have arrived, in the order of their coming.
func (w *world) messages() (all []object) {
	for _, m := range w.sim.Messages() {
		all = append(all, decode[object](w.t, string(m.Msg)))
	}
	return all
}

// fileURL is where the simulated API has put a file.
func (w *world) fileURL(f chatsim.File) string {
	for _, v := range w.vars {
		if base, ok := strings.CutPrefix(v, "CHAT_URL="); ok {
			return base + "/chat-demo/testapp/chatfiles/" + f.UUID
		}
	}
	w.t.Fatal("no CHAT_URL")
	return ""
}

// A picture arrives with all that receivers need to show it, and can be fetched
// with what the message says.
func TestAttachPicture(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.worker()
	text := picture(t)
	w.send("--target", "u1", "--target", "u2", "--type", "img", "--attach", attachment(t, "My photo.png", text), "--wait")
	files := w.sim.Files()
	if len(files) != 1 || string(files[0].Bytes) != text || files[0].Name != "My photo.png" || files[0].ContentType != "image/png" || files[0].Secret == "" {
		t.Fatalf("%d files: %.200v", len(files), files)
	}
	want := []object{{
		"type": "img", "url": w.fileURL(files[0]), "secret": files[0].Secret, "filename": "My photo.png",
		"size": object{"width": 40.0, "height": 30.0},
	}}
	got := w.messages()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("arrived (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(once("u1", "u2"), w.journal(chatsim.Users)); diff != "" {
		t.Errorf("delivered (-want +got):\n%s", diff)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, got[0]["url"].(string), nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("share-secret", got[0]["secret"].(string))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }() // read only
	if fetched, err := io.ReadAll(response.Body); err != nil || response.StatusCode != http.StatusOK || string(fetched) != text {
		t.Errorf("fetched %d bytes with %s, %v", len(fetched), response.Status, err)
	}
}

// The file goes into what --msg and --job say, which win where they may.
func TestAttachToMessages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.worker()
	file := attachment(t, "f.bin", "some bytes")
	for name, tt := range map[string]struct {
		args []string
		want object
	}{
		"type":  {[]string{"--target", "u1", "--type", "file"}, object{"type": "file", "filename": "f.bin"}},
		"msg":   {[]string{"--target", "u1", "--msg", `{"type":"audio","length":7,"filename":"a.amr"}`}, object{"type": "audio", "length": 7.0, "filename": "a.amr"}},
		"job":   {[]string{"--job", jobFile(t, object{"target_type": "users", "target": []string{"u1"}, "msg": object{"type": "video"}})}, object{"type": "video", "filename": "f.bin"}},
		"image": {[]string{"--target", "u1", "--msg", `{"type":"img","size":{"width":1,"height":2}}`}, object{"type": "img", "filename": "f.bin", "size": object{"width": 1.0, "height": 2.0}}},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			before := len(w.messages())
			w.send(append(tt.args, "--attach", file, "--wait")...)
			files, messages := w.sim.Files(), w.messages()
			if len(messages) != before+1 || len(files) != before+1 {
				t.Fatalf("%d messages, %d files", len(messages), len(files))
			}
			tt.want["url"], tt.want["secret"] = w.fileURL(files[before]), files[before].Secret
			if diff := cmp.Diff(tt.want, messages[before]); diff != "" {
				t.Errorf("arrived (-want +got):\n%s", diff)
			}
		})
	}
}

// The same command again is the same job with the same upload; another file
// under the same id is a conflict. Without an id each run is a job of its own.
func TestAttachOncePerJob(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	file := attachment(t, "f.png", picture(t))
	send := func(file string, more ...string) result {
		return w.enqueue(append([]string{"send", "--target", "u1", "--type", "img", "--attach", file}, more...)...)
	}
	for range 3 {
		if got := send(file, "--id", "j"); got.code != 0 || got.out != "j\n" || strings.Contains(got.err, w.sim.Files()[0].Secret) {
			t.Fatalf("exit %d, %q\n%s", got.code, got.out, got.err)
		}
	}
	if n := len(w.sim.Files()); n != 1 {
		t.Errorf("%d uploads for one job", n)
	}
	w.worker()
	if s := w.wait("j", 0); s.Total != 1 || s.Calls != 1 {
		t.Errorf("%+v", s)
	}
	if got := send(file, "--id", "j"); got.code != 0 || !strings.Contains(got.err, "known already") || len(w.sim.Files()) != 1 {
		t.Errorf("exit %d after %d uploads\n%s", got.code, len(w.sim.Files()), got.err)
	}
	if got := send(attachment(t, "f.png", "another picture"), "--id", "j"); got.code != 2 || !strings.Contains(got.err, "other content") {
		t.Errorf("exit %d\n%s", got.code, got.err)
	}
	uploads := len(w.sim.Files())
	for range 2 {
		send(file)
	}
	if n := len(w.sim.Files()); n != uploads+2 {
		t.Errorf("%d uploads for two jobs without an id", n-uploads)
	}
}

// A command that was cut off between its upload and its job uses that upload
// when it is run again.
func TestAttachAfterCutOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	args := []string{"send", "--target", "u1", "--type", "file", "--attach", attachment(t, "f.txt", "hello"), "--id", "j"}
	if got := w.enqueue(append(args, "--target", "no name")...); got.code != 2 || !strings.Contains(got.err, "target[1]") || len(w.keysOf("{j}:job")) != 0 {
		t.Fatalf("exit %d\n%s", got.code, got.err) // names are read last, so it had uploaded the file
	}
	if got := w.enqueue(args...); got.code != 0 || len(w.sim.Files()) != 1 {
		t.Errorf("exit %d after %d uploads\n%s", got.code, len(w.sim.Files()), got.err)
	}
}

func TestAttachIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	file, dir := attachment(t, "f.txt", "hello"), t.TempDir()
	large := attachment(t, "large.bin", strings.Repeat("x", 10<<20+1))
	late := time.Now().Add(7*24*time.Hour + time.Hour).Format(time.RFC3339)
	for name, tt := range map[string]struct {
		args []string
		want []string
	}{
		"absent":       {[]string{"--type", "img", "--attach", filepath.Join(dir, "absent.png")}, []string{"--attach", "no such file"}},
		"a folder":     {[]string{"--type", "img", "--attach", dir}, []string{"--attach", "no file"}},
		"empty":        {[]string{"--type", "img", "--attach", attachment(t, "empty", "")}, []string{"--attach", "empty"}},
		"too large":    {[]string{"--type", "img", "--attach", large}, []string{"--attach", "10485760"}},
		"no type":      {[]string{"--attach", file}, []string{"--attach", "--type"}},
		"with a text":  {[]string{"--text", "hello", "--attach", file}, []string{"--attach", "--text"}},
		"type txt":     {[]string{"--type", "txt", "--attach", file}, []string{"--attach", "msg.type"}},
		"type cmd":     {[]string{"--msg", `{"type":"cmd","action":"a"}`, "--attach", file}, []string{"--attach", "msg.type"}},
		"unknown type": {[]string{"--type", "picture", "--attach", file}, []string{"--attach", "msg.type"}},
		"own url":      {[]string{"--msg", `{"type":"img","url":"https://h/p"}`, "--attach", file}, []string{"--attach", "msg.url"}},
		"own secret":   {[]string{"--msg", `{"type":"img","secret":"s"}`, "--attach", file}, []string{"--attach", "msg.secret"}},
		"wrong option": {[]string{"--type", "file", "--attach", file, "--priority", "high"}, []string{"options.priority"}},
		"wrong field":  {[]string{"--msg", `{"type":"file","size":{}}`, "--attach", file}, []string{"msg.size"}},
		"absent list":  {[]string{"--type", "file", "--attach", file, "--exclude", "absent.txt"}, []string{"--exclude", "absent.txt"}},
		"too late":     {[]string{"--type", "file", "--attach", file, "--send-at", late}, []string{"options.send_at", "7 days"}},
		"message size": {[]string{"--type", "file", "--attach", file, "--ext", encode(t, object{"k": strings.Repeat("x", 3900)})}, []string{"msg", "4096"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			w.refuses(w.enqueue(append([]string{"send", "--target", "u1"}, tt.args...)...), tt.want...)
		})
	}
	if n := len(w.sim.Files()); n != 0 {
		t.Errorf("%d files were uploaded", n)
	}
}

// The settings of the API count with --attach, and only then; each that is wrong
// is named.
func TestAttachSettings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	args := []string{"send", "--target", "u1", "--type", "file", "--attach", attachment(t, "f.txt", "hello")}
	none := w.with("CHAT_URL=", "CHAT_ORG=", "CHAT_APP=", "CHAT_TOKEN=")
	none.refuses(none.enqueue(args...), "CHAT_ORG", "CHAT_APP", "CHAT_TOKEN", "CHAT_CLIENT_ID")
	wrong := w.with("CHAT_TIMEOUT=soon", "CHAT_URL=ftp://user:password@h")
	got := wrong.enqueue(args...)
	wrong.refuses(got, "CHAT_TIMEOUT", "CHAT_URL")
	if strings.Contains(got.err, "password") {
		t.Errorf("the password shows: %s", got.err)
	}
	if got := wrong.enqueue("send", "--target", "u1", "--text", "hello"); got.code != 0 {
		t.Errorf("exit %d without a file\n%s", got.code, got.err)
	}
	if err := w.redis.Client().Set(t.Context(), "crier:app", "other/app", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if got := w.enqueue(args...); got.code != 2 || !strings.Contains(got.err, "other/app") || !strings.Contains(got.err, "CHAT_APP") || len(w.sim.Files()) != 0 {
		t.Errorf("exit %d after %d uploads to a foreign app\n%s", got.code, len(w.sim.Files()), got.err)
	}
}

// An upload that fails leaves no job, and says why.
func TestAttachUploadFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *chatsim.Config) { c.MaxFile = 3 })
	args := []string{"send", "--target", "u1", "--type", "file", "--attach", attachment(t, "f.txt", "hello"), "--id", "j"}
	for name, tt := range map[string]struct {
		w    *world
		want string
	}{
		"too large for the API": {w, "413"},
		"wrong token":           {w.with("CHAT_TOKEN=YWMt-wrong-token-0123456789"), "401"},
	} {
		got := tt.w.enqueue(args...)
		if got.code != 1 || got.out != "" || !strings.Contains(got.err, "nothing was stored") || !strings.Contains(got.err, tt.want) || strings.Contains(got.err, "0123456789") {
			t.Errorf("%s: exit %d, %q\n%s", name, got.code, got.out, got.err)
		}
	}
	if n := w.stored(); n != 0 {
		t.Errorf("%d keys were stored", n)
	}
}

// Faults that pass cost the upload time only.
func TestAttachThroughFaults(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *chatsim.Config) {
		c.Faults = []chatsim.Fault{{Kind: chatsim.FaultUnavailable, Percent: 20}, {Kind: chatsim.FaultReset, Percent: 20}, {Kind: chatsim.FaultThrottle, Percent: 20}}
	})
	for range 3 {
		w.send("--target", "u1", "--type", "file", "--attach", attachment(t, "f.txt", "hello"))
	}
	if n := len(w.sim.Files()); n < 3 {
		t.Errorf("%d files were uploaded", n)
	}
}

// Enqueue fetches its token as workers do: the one that it finds shared serves,
// and what it fetches is shared.
func TestAttachWithCredentials(t *testing.T) {
	t.Parallel()
	w, desk := newTokenWorld(t)
	args := []string{"--target", "u1", "--type", "file", "--attach", attachment(t, "f.txt", "hello")}
	w.send(args...)
	w.worker()
	w.send(append(args, "--wait")...)
	if n := desk.fetches(t); n != 1 || len(w.sim.Files()) != 2 {
		t.Errorf("%d tokens were fetched for %d uploads", n, len(w.sim.Files()))
	}
	w.sim.SetSecrets(chatsim.Secrets{ClientID: "demo-client", ClientSecret: rightSecret}, true) // all tokens are dead
	w.send(append(args, "--wait")...)
	if n := desk.fetches(t); n != 2 {
		t.Errorf("%d tokens were fetched when the shared one was dead", n)
	}
	bad := w.with("CHAT_CLIENT_SECRET=" + wrongSecret)
	got := bad.enqueue(append([]string{"send"}, args...)...)
	if got.code != 1 || strings.Contains(got.err, wrongSecret) || !strings.Contains(got.err, "nothing was stored") {
		t.Errorf("exit %d with a wrong secret\n%s", got.code, got.err)
	}
}

// A plan uploads nothing, and comes to what sending does.
func TestPlanWithAttachment(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	args := []string{"--targets", listFile(t, names(500)...), "--type", "img", "--attach", attachment(t, "f.png", picture(t))}
	got := w.with("CHAT_TOKEN=").enqueue(append([]string{"plan", "--json"}, args...)...)
	if got.code != 0 || !strings.Contains(got.err, "not uploaded") || len(w.sim.Files()) != 0 {
		t.Fatalf("exit %d after %d uploads\n%s", got.code, len(w.sim.Files()), got.err)
	}
	var plan struct{ Calls, Bytes int }
	if err := json.Unmarshal([]byte(got.out), &plan); err != nil {
		t.Fatal(err)
	}
	w.worker()
	w.send(append(args, "--wait")...)
	if stats := w.sim.Stats(); int(stats.AcceptedCalls) != plan.Calls {
		t.Errorf("%d calls, planned %+v", stats.AcceptedCalls, plan)
	}
	bare := w.with("CHAT_ORG=", "CHAT_APP=") // the namespace has an app by now
	if got := bare.enqueue(append([]string{"plan", "--json"}, args...)...); got.code != 0 || decode[object](t, got.out)["bytes"] != float64(plan.Bytes) {
		t.Errorf("exit %d: %s\n%s", got.code, got.out, got.err)
	}
}

// What is scheduled past the life of its file is refused for what is known of
// the file: here, that enqueue has uploaded it.
func TestScheduledPastTheFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.send("--target", "u1", "--type", "file", "--attach", attachment(t, "f.txt", "hello"), "--id", "j")
	url := w.fileURL(w.sim.Files()[0])
	doc := func(id string, in time.Duration) string {
		return encode(t, object{
			"id": id, "target_type": "users", "target": []string{"u1"}, "msg": object{"type": "file", "url": url},
			"options": object{"send_at": time.Now().Add(in).Format(time.RFC3339)},
		})
	}
	const week = 7 * 24 * time.Hour
	w.sendWith(doc("in-time", week-time.Hour), "--job", "-")
	got := w.enqueueWith(doc("late", week+time.Hour), "send", "--job", "-")
	if got.code != 2 || !strings.Contains(got.err, "options.send_at: ") || !strings.Contains(got.err, "msg.url") || len(w.keysOf("{late}")) != 0 {
		t.Errorf("exit %d\n%s", got.code, got.err)
	}
	if got := w.enqueueWith(doc("late", week+time.Hour), "plan", "--job", "-"); got.code != 2 || !strings.Contains(got.err, "options.send_at: ") {
		t.Errorf("plan: exit %d\n%s", got.code, got.err)
	}
}
