package test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"crier/internal/chatsim"
)

// object is a JSON object whose meaning is compared, not its text.
type object = map[string]any

// samples are the requests of the vendor's page, one for each type; the page
// has none for files, and the one for locations, broken there, is mended.
// examples/messages has them as documents.
func samples() map[string]object {
	const files = "https://a1.easecdn.com/chat-demo/testapp/chatfiles/"
	const secret = "VfEpSmSvEeS7yU8dwa9rAQc-DIL2HhmpujTNfSTsrDt6eNb_"
	sample := func(msg object, more object, targets ...any) object {
		doc := object{"target_type": "users", "target": targets, "msg": msg, "from": "user1"}
		maps.Copy(doc, more)
		return doc
	}
	attr := object{"ext": object{"attr1": "test"}}
	return map[string]object{
		"txt": sample(object{"type": "txt", "msg": "testmessage"}, attr, "user2", "user3"),
		"img": sample(object{
			"type": "img", "filename": "testimg.jpg", "secret": secret, "url": files + "55f12940-64af-11e4-8a5b-ff2336f03252",
			"size": object{"width": 480.0, "height": 720.0},
		}, nil, "user2"),
		"audio": sample(object{
			"type": "audio", "url": files + "1dfc7f50-55c6-11e4-8a07-7d75b8fb3d42", "filename": "testaudio.amr", "length": 10.0,
			"secret": "Hfx_WlXGEeSdDW-SuX2EaZcXDC7ZEig3OgKZye9IzKOwoCjM",
		}, nil, "user2", "user3"),
		"video": sample(object{
			"type": "video", "filename": "testvideo.mp4", "thumb": files + "67279b20-7f69-11e4-8eee-21d3334b3a97", "length": 0.0,
			"secret": secret, "file_length": 58103.0, "thumb_secret": "ZyebKn9pEeSSfY03ROk7ND24zUf74s7HpPN1oMV-1JxN2O2I",
			"url": files + "671dfe30-7f69-11e4-ba67-8fef0d502f46",
		}, nil, "user2", "user3"),
		"loc": sample(object{"type": "loc", "lat": "39.966", "lng": "116.322", "addr": "中国北京市海淀区中关村"}, nil, "user2"),
		"cmd": sample(object{"type": "cmd", "action": "action1"}, nil, "user2", "user3"),
		"custom": sample(object{
			"type": "custom", "customEvent": "gift_1", "customExts": object{"name": "flower", "size": "16", "price": "100"},
		}, attr, "user2"),
		"file": sample(object{
			"type": "file", "filename": "terms.pdf", "secret": secret, "url": files + "55f12940-64af-11e4-8a5b-ff2336f03252",
		}, nil, "user2"),
	}
}

func TestExamplesAreTheVendorsSamples(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../examples/messages/*.json")
	if err != nil {
		t.Fatal(err)
	}
	examples := map[string]object{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		doc := decode[object](t, string(text))
		kind, _ := doc["msg"].(object)["type"].(string)
		if file != exampleFile(kind) {
			t.Errorf("%s holds a message of type %q", file, kind)
		}
		examples[kind] = doc
	}
	if diff := cmp.Diff(samples(), examples); diff != "" {
		t.Errorf("examples (-want +got):\n%s", diff)
	}
}

func exampleFile(kind string) string {
	return filepath.Join("..", "examples", "messages", kind+".json")
}

// Each type of message goes to each type of target, in both forms of the API,
// and arrives as it was given: as a file, as a document on standard input, and
// as flags.
func TestEveryTypeToEveryTarget(t *testing.T) {
	t.Parallel()
	for _, form := range []string{"unified", "split"} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t).with("CHAT_API=" + form)
			w.worker()
			want := map[string]object{}
			var ids []string
			for kind, doc := range samples() {
				ids = append(ids, w.send("--job", exampleFile(kind)))
				want["users "+kind] = maps.Clone(doc)

				doc["target_type"], doc["target"] = "chatgroups", []any{"66021836783617", "66021836783618"}
				ids = append(ids, w.sendWith(encode(t, doc), "--job", "-"))
				want["chatgroups "+kind] = maps.Clone(doc)

				doc["target_type"], doc["target"] = "chatrooms", []any{"1265710621211"}
				ids = append(ids, w.send(flagsOf(t, doc)...))
				want["chatrooms "+kind] = maps.Clone(doc)
			}
			for _, id := range ids {
				w.wait(id, 0)
			}
			got := map[string]object{}
			for _, m := range w.sim.Messages() {
				got[string(m.TargetType)+" "+m.Type] = arrived(t, m, form)
				if m.Calls != 1 {
					t.Errorf("%d calls with %s to %s", m.Calls, m.Type, m.TargetType)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("arrived (-want +got):\n%s", diff)
			}
		})
	}
}

// flagsOf says with flags what a document says.
func flagsOf(t *testing.T, doc object) []string {
	t.Helper()
	args := []string{"--msg", encode(t, doc["msg"]), "--from", doc["from"].(string), "--target-type", doc["target_type"].(string)}
	for _, target := range doc["target"].([]any) {
		args = append(args, "--target", target.(string))
	}
	if ext, ok := doc["ext"]; ok {
		args = append(args, "--ext", encode(t, ext))
	}
	return args
}

// arrived is the whole body of a call, as a document in the unified form.
func arrived(t *testing.T, m chatsim.Message, form string) object {
	t.Helper()
	body := decode[object](t, string(m.LastBody))
	if form == "unified" {
		return body
	}
	msg, ok := body["body"].(object)
	if !ok {
		t.Fatalf("no body in %s", m.LastBody)
	}
	msg["type"] = body["type"]
	body["msg"], body["target"], body["target_type"] = msg, body["to"], string(m.TargetType)
	delete(body, "body")
	delete(body, "type")
	delete(body, "to")
	return body
}

// What else the vendor knows is passed on; what is ours stays here.
func TestFurtherFieldsArePassedOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.worker()
	doc := object{
		"target_type": "chatgroups", "target": []any{"66021836783617"}, "msg": object{"type": "txt", "msg": "<b>&\u2028\U0001F600\"\\"},
		"ext":         object{"em_apns_ext": object{"em_push_content": "Grüße", "n": []any{1.0, nil, true}}, "em_force_notification": true},
		"sync_device": true, "routetype": "ROUTE_ONLINE", "chatroom_msg_level": "high", "need_group_ack": true,
		"roam_ignore_users": []any{"u1"},
	}
	given := maps.Clone(doc)
	given["id"] = "spring-sale"
	given["options"] = object{
		"name": "Spring sale", "priority": "urgent", "weight": 3, "max_rate": 100, "on_unknown": "hold",
		"send_at": "2026-01-01T00:00:00Z", "expires_at": "2999-01-01T00:00:00+01:00",
	}
	if id := w.sendWith(encode(t, given), "--job", "-", "--wait"); id != "spring-sale" {
		t.Errorf("the id is %q", id)
	}
	messages := w.sim.Messages()
	if len(messages) != 1 {
		t.Fatalf("%d messages arrived", len(messages))
	}
	if diff := cmp.Diff(doc, decode[object](t, string(messages[0].LastBody))); diff != "" {
		t.Errorf("arrived (-want +got):\n%s", diff)
	}
	got := decode[object](t, w.succeed("status", "spring-sale", "--json"))
	if got["name"] != "Spring sale" || got["priority"] != "urgent" || got["target_type"] != "chatgroups" {
		t.Errorf("status: %v", got)
	}
}

// The names of a call stand in the order of the list, ids as JSON strings.
func TestTargetsKeepTheirOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.worker()
	list := names(50)
	slices.Reverse(list)
	w.send("--job", jobFile(t, object{"target_type": "users", "target": list, "msg": object{"type": "txt", "msg": "x"}}), "--wait")
	var body struct{ Target []json.RawMessage }
	if err := json.Unmarshal(w.sim.Messages()[0].LastBody, &body); err != nil {
		t.Fatal(err)
	}
	var want []json.RawMessage
	for _, name := range list {
		want = append(want, json.RawMessage(encode(t, name)))
	}
	if diff := cmp.Diff(want, body.Target); diff != "" {
		t.Errorf("targets (-want +got):\n%s", diff)
	}
}

// jobFile writes a document to a file.
func jobFile(t *testing.T, doc object) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "job.json")
	if err := os.WriteFile(file, []byte(encode(t, doc)), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
