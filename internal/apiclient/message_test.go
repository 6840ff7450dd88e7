package apiclient

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sample reads one of the vendor page's request bodies as a message.
func sample(t *testing.T, name string) (Message, map[string]any) {
	t.Helper()
	body := []byte(fixture(t, "request_"+name+".json"))
	var request struct {
		TargetType TargetType `json:"target_type"`
		Msg, Ext   json.RawMessage
		From       string
	}
	var whole map[string]any
	for _, into := range []any{&request, &whole} {
		if err := json.Unmarshal(body, into); err != nil {
			t.Fatal(err)
		}
	}
	m := Message{TargetType: request.TargetType, From: request.From, Msg: compact(t, request.Msg), Ext: compact(t, request.Ext)}
	return m, whole
}

func compact(t *testing.T, raw json.RawMessage) json.RawMessage {
	t.Helper()
	if raw == nil {
		return nil
	}
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestVendorSamples(t *testing.T) {
	for _, name := range []string{"txt", "img", "audio", "video", "file", "loc", "cmd", "custom", "ext"} {
		t.Run(name, func(t *testing.T) {
			m, want := sample(t, name)
			if faults := m.Check(4096); faults != nil {
				t.Errorf("faults %v", faults)
			}
			if diff := cmp.Diff(want, sent(t, m, FormUnified, want["target"])); diff != "" {
				t.Errorf("unified (-sample +sent):\n%s", diff)
			}
			want["to"], want["body"] = want["target"], want["msg"]
			want["type"] = want["body"].(map[string]any)["type"]
			delete(want["body"].(map[string]any), "type")
			delete(want, "target")
			delete(want, "target_type")
			delete(want, "msg")
			if diff := cmp.Diff(want, sent(t, m, FormSplit, want["to"])); diff != "" {
				t.Errorf("split (-sample +sent):\n%s", diff)
			}
		})
	}
}

// The page's own location sample is broken.
func TestVendorSampleBroken(t *testing.T) {
	_, msg, _ := strings.Cut(fixture(t, "request_loc_broken.json"), `"msg": `)
	msg, _, _ = strings.Cut(msg, `,"from"`)
	m := Message{TargetType: Users, Msg: json.RawMessage(msg)}
	want := []FieldError{{"msg", "invalid JSON at byte 48: invalid character '.' looking for beginning of object key string"}}
	if diff := cmp.Diff(want, m.Check(0)); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
	if _, _, err := m.Envelope(FormUnified); err == nil {
		t.Error("an envelope of broken JSON")
	}
}

// sent decodes the body with which m goes to the targets.
func sent(t *testing.T, m Message, form Form, targets any) (body map[string]any) {
	t.Helper()
	head, tail, err := m.Envelope(form)
	if err != nil {
		t.Fatal(err)
	}
	list, err := json.Marshal(targets)
	if err != nil {
		t.Fatal(err)
	}
	whole := string(head) + strings.Trim(string(list), "[]") + string(tail)
	if err := json.Unmarshal([]byte(whole), &body); err != nil {
		t.Fatalf("%v: %s", err, whole)
	}
	return body
}

func TestCheck(t *testing.T) {
	exts := func(n int) string {
		var pairs []string
		for i := range n {
			pairs = append(pairs, fmt.Sprintf(`"k%d":"v"`, i))
		}
		return "{" + strings.Join(pairs, ",") + "}"
	}
	const typeFault = "must be txt, img, audio, video, loc, cmd, custom or file"
	tests := []struct {
		name string
		msg  string
		want []FieldError
	}{
		{"no msg", ``, []FieldError{{"msg", "is required"}}},
		{"null", `null`, []FieldError{{"msg", "must be a JSON object"}}},
		{"string: encoded twice", `"{\"type\":\"txt\",\"msg\":\"x\"}"`, []FieldError{{"msg", "must be a JSON object"}}},
		{"array", `[]`, []FieldError{{"msg", "must be a JSON object"}}},
		{"cut", `{"type":"txt"`, []FieldError{{"msg", "invalid JSON at byte 13: unexpected end of JSON input"}}},
		{"no UTF-8", "{\"type\":\"txt\",\"msg\":\"\xff\"}", []FieldError{{"msg", "must be UTF-8"}}},
		{"no type", `{"msg":"x"}`, []FieldError{{"msg.type", "is required"}}},
		{"unknown type", `{"type":"text","msg":"x"}`, []FieldError{{"msg.type", typeFault}}},
		{"type is a number", `{"type":1,"msg":"x"}`, []FieldError{{"msg.type", typeFault}}},
		{"type twice", `{"type":"txt","msg":"x","type":"cmd"}`, []FieldError{{"msg.type", "is given twice"}}},
		{
			"unknown fields", `{"type":"txt","msg":"x","url":"y","Msg":"z"}`,
			[]FieldError{{"msg.url", "is not a field that is known here"}, {"msg.Msg", "is not a field that is known here"}},
		},

		{"txt", `{"type":"txt","msg":"x"}`, nil},
		{"txt: no msg", `{"type":"txt"}`, []FieldError{{"msg.msg", "is required"}}},
		{"txt: empty", `{"type":"txt","msg":""}`, []FieldError{{"msg.msg", "must not be empty"}}},
		{"txt: null", `{"type":"txt","msg":null}`, []FieldError{{"msg.msg", "must be a string"}}},
		{"txt: object", `{"type":"txt","msg":{}}`, []FieldError{{"msg.msg", "must be a string"}}},

		{"img: url only", `{"type":"img","url":"u"}`, nil},
		{"img: no url", `{"type":"img","filename":"f"}`, []FieldError{{"msg.url", "is required"}}},
		{"img: size", `{"type":"img","url":"u","size":{"width":1}}`, nil},
		{"img: sizes", `{"type":"img","url":"u","size":{"width":"1","height":-1,"depth":1}}`, []FieldError{
			{"msg.size.width", "must be a number, 0 or more"},
			{"msg.size.height", "must be a number, 0 or more"},
			{"msg.size.depth", "is not a field that is known here"},
		}},
		{"img: size is a number", `{"type":"img","url":"u","size":480}`, []FieldError{{"msg.size", "must be a JSON object"}}},

		{"audio", `{"type":"audio","url":"u","filename":"f","length":10,"secret":"s"}`, nil},
		{"audio: all wrong", `{"type":"audio","url":1,"filename":2,"length":"10","secret":false}`, []FieldError{
			{"msg.url", "must be a string"},
			{"msg.filename", "must be a string"},
			{"msg.length", "must be a number, 0 or more"},
			{"msg.secret", "must be a string"},
		}},
		{"audio: no url", `{"type":"audio"}`, []FieldError{{"msg.url", "is required"}}},

		{"video", `{"type":"video","url":"u","filename":"f","thumb":"t","length":0,"secret":"s","file_length":58103,"thumb_secret":"x"}`, nil},
		{"video: no url", `{"type":"video","thumb":null}`, []FieldError{{"msg.thumb", "must be a string"}, {"msg.url", "is required"}}},
		{"video: file_length", `{"type":"video","url":"u","file_length":null}`, []FieldError{{"msg.file_length", "must be a number, 0 or more"}}},

		{"file", `{"type":"file","url":"u","filename":"f","secret":"s"}`, nil},
		{
			"file: no url, size", `{"type":"file","size":{}}`,
			[]FieldError{{"msg.size", "is not a field that is known here"}, {"msg.url", "is required"}},
		},

		{"loc: empty", `{"type":"loc"}`, []FieldError{{"msg.lat", "is required"}, {"msg.lng", "is required"}, {"msg.addr", "is required"}}},
		{"loc: numbers", `{"type":"loc","lat":39.9,"lng":"116","addr":"a"}`, []FieldError{{"msg.lat", "must be a string"}}},

		{"cmd", `{"type":"cmd","action":"a","param":{"k":[1]}}`, nil},
		{"cmd: empty", `{"type":"cmd","param":null}`, []FieldError{{"msg.param", "must not be null"}, {"msg.action", "is required"}}},

		{"custom", `{"type":"custom","customEvent":"a-Z_0/9. "}`, nil},
		{"custom: empty", `{"type":"custom"}`, []FieldError{{"msg.customEvent", "is required"}}},
		{
			"custom: event", `{"type":"custom","customEvent":"a+b"}`,
			[]FieldError{{"msg.customEvent", "must be 1 to 32 of a-z A-Z 0-9 - _ / . and space"}},
		},
		{
			"custom: newline", `{"type":"custom","customEvent":"ab\n"}`,
			[]FieldError{{"msg.customEvent", "must be 1 to 32 of a-z A-Z 0-9 - _ / . and space"}},
		},
		{
			"custom: 33", `{"type":"custom","customEvent":"` + strings.Repeat("e", 33) + `"}`,
			[]FieldError{{"msg.customEvent", "must be 1 to 32 of a-z A-Z 0-9 - _ / . and space"}},
		},
		{"custom: event is a number", `{"type":"custom","customEvent":1}`, []FieldError{{"msg.customEvent", "must be a string"}}},
		{"custom: 16 exts", `{"type":"custom","customEvent":"e","customExts":` + exts(16) + `}`, nil},
		{
			"custom: 17 exts", `{"type":"custom","customEvent":"e","customExts":` + exts(17) + `}`,
			[]FieldError{{"msg.customExts", "holds 17 elements, the limit is 16"}},
		},
		{
			"custom: values", `{"type":"custom","customEvent":"e","customExts":{"k":1,"l":"x","l":"y"}}`,
			[]FieldError{{"msg.customExts.k", "must be a string"}, {"msg.customExts.l", "is given twice"}},
		},
		{"custom: list", `{"type":"custom","customEvent":"e","customExts":[]}`, []FieldError{{"msg.customExts", "must be a JSON object"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := Message{TargetType: Users, Msg: json.RawMessage(tt.msg)}
			if diff := cmp.Diff(tt.want, m.Check(0)); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCheckBesideMsg(t *testing.T) {
	const name = "must be a user name: 1 to 64 of a-z 0-9 _ - ."
	tests := []struct {
		name   string
		change func(*Message)
		want   []FieldError
	}{
		{"target type", func(m *Message) { m.TargetType = "groups" }, []FieldError{{"target_type", "must be users, chatgroups or chatrooms"}}},
		{"from", func(m *Message) { m.From = "Service_1.a-b" }, nil},
		{"from with space", func(m *Message) { m.From = "a b" }, []FieldError{{"from", name}}},
		{"from too long", func(m *Message) { m.From = strings.Repeat("a", 65) }, []FieldError{{"from", name}}},
		{"ext nested", func(m *Message) { m.Ext = []byte(`{"em_apns_ext":{"em_push_content":"hi"},"n":1}`) }, nil},
		{"ext null", func(m *Message) { m.Ext = []byte(`null`) }, []FieldError{{"ext", "must not be null: leave it out"}}},
		{"ext encoded twice", func(m *Message) { m.Ext = []byte(`"{}"`) }, []FieldError{{"ext", "must be a JSON object"}}},
		{
			"ext broken", func(m *Message) { m.Ext = []byte(`{"a":}`) },
			[]FieldError{{"ext", "invalid JSON at byte 6: invalid character '}' looking for beginning of value"}},
		},
		{"ext no UTF-8", func(m *Message) { m.Ext = []byte("{\"a\":\"\xff\"}") }, []FieldError{{"ext", "must be UTF-8"}}},
		{"just small enough", func(m *Message) { m.Ext = []byte(`{"a":"` + strings.Repeat("x", 68) + `"}`) }, nil},
		{
			"a byte too large", func(m *Message) { m.Ext = []byte(`{"a":"` + strings.Repeat("x", 69) + `"}`) },
			[]FieldError{{"msg", "takes 101 bytes together with ext, the limit is 100"}},
		},
		{"extras", func(m *Message) {
			m.Extra = []Field{
				{"sync_device", []byte(`true`)},
				{"routetype", []byte(`"ROUTE_ONLINE"`)},
				{"chatroom_msg_level", []byte(`"low"`)},
				{"need_group_ack", []byte(`false`)},
				{"roam_ignore_users", []byte(`["u1"]`)},
			}
		}, nil},
		{"extras all wrong", func(m *Message) {
			m.Extra = []Field{
				{"sync_device", []byte(`"true"`)},
				{"routetype", []byte(`"ROUTE_ALL"`)},
				{"chatroom_msg_level", []byte(`1`)},
				{"need_group_ack", []byte(`null`)},
				{"roam_ignore_users", []byte(`"u1"`)},
				{"roam_ignore_users", []byte(`[]`)},
				{"priority", []byte(`1`)},
			}
		}, []FieldError{
			{"sync_device", "must be true or false"},
			{"routetype", "must be ROUTE_ONLINE"},
			{"chatroom_msg_level", "must be high or normal or low"},
			{"need_group_ack", "must be true or false"},
			{"roam_ignore_users", "must be an array of strings"},
			{"roam_ignore_users", "is given twice"},
			{"priority", "is not a field that is known here"},
		}},
		{"too many ignored", func(m *Message) {
			m.Extra = []Field{{"roam_ignore_users", []byte(`["u"` + strings.Repeat(`,"u"`, 20) + `]`)}}
		}, []FieldError{{"roam_ignore_users", "holds 21 names, the limit is 20"}}},
		{
			"ignored null", func(m *Message) { m.Extra = []Field{{"roam_ignore_users", []byte(`[null]`)}} },
			[]FieldError{{"roam_ignore_users", "must be an array of strings"}},
		},
		{"everything at once", func(m *Message) {
			*m = Message{TargetType: "x", From: "?", Msg: []byte(`{"type":"img"}`), Ext: []byte(`1`)}
		}, []FieldError{
			{"target_type", "must be users, chatgroups or chatrooms"},
			{"msg.url", "is required"},
			{"from", name},
			{"ext", "must be a JSON object"},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := Message{TargetType: Users, Msg: json.RawMessage(`{"type":"txt","msg":"x"}`)}
			tt.change(&m)
			if diff := cmp.Diff(tt.want, m.Check(100)); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFieldErrorText(t *testing.T) {
	if got := (FieldError{"msg.url", "is required"}).Error(); got != "msg.url: is required" {
		t.Error(got)
	}
}

func TestExtraFieldsAreChecked(t *testing.T) {
	var names []string
	for _, r := range extras {
		names = append(names, r.name)
	}
	if diff := cmp.Diff(ExtraFields(), names); diff != "" {
		t.Error(diff)
	}
}

func TestEnvelope(t *testing.T) {
	full := Message{
		TargetType: ChatGroups, From: "svc", Msg: []byte(`{"msg":"<b>&é 你","type":"txt"}`), Ext: []byte(`{"k":{"l":1}}`),
		Extra: []Field{{"sync_device", []byte(`true`)}, {"need_group_ack", []byte(`false`)}},
	}
	least := Message{TargetType: Users, Msg: []byte(`{"type":"cmd","action":"a"}`)}
	emptyExt := least
	emptyExt.Ext = []byte(`{}`)
	tests := []struct {
		name string
		m    Message
		form Form
		want string
	}{
		{"full unified", full, FormUnified, `{"target_type":"chatgroups","target":["a","b"],"msg":{"msg":"<b>&é 你","type":"txt"},` +
			`"from":"svc","ext":{"k":{"l":1}},"sync_device":true,"need_group_ack":false}`},
		{"full split", full, FormSplit, `{"to":["a","b"],"type":"txt","body":{"msg":"<b>&é 你"},` +
			`"from":"svc","ext":{"k":{"l":1}},"sync_device":true,"need_group_ack":false}`},
		{"least unified", least, FormUnified, `{"target_type":"users","target":["a","b"],"msg":{"type":"cmd","action":"a"}}`},
		{"least split", least, FormSplit, `{"to":["a","b"],"type":"cmd","body":{"action":"a"}}`},
		{"empty ext", emptyExt, FormUnified, `{"target_type":"users","target":["a","b"],"msg":{"type":"cmd","action":"a"}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			head, tail, err := tt.m.Envelope(tt.form)
			if err != nil {
				t.Fatal(err)
			}
			if got := string(head) + `"a","b"` + string(tail); got != tt.want {
				t.Errorf("body\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestEnvelopeRefuses(t *testing.T) {
	good := Message{TargetType: Users, Msg: []byte(`{"type":"cmd","action":"a"}`)}
	tests := []struct {
		name   string
		form   Form
		change func(*Message)
	}{
		{"form", "both", func(*Message) {}},
		{"target type", FormUnified, func(m *Message) { m.TargetType = "" }},
		{"msg", FormUnified, func(m *Message) { m.Msg = []byte(`"txt"`) }},
		{"ext", FormSplit, func(m *Message) { m.Ext = []byte(`{"a"}`) }},
		{"extra", FormSplit, func(m *Message) { m.Extra = []Field{{"sync_device", nil}} }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := good
			tt.change(&m)
			if head, tail, err := m.Envelope(tt.form); err == nil || !strings.HasPrefix(err.Error(), "apiclient: envelope: ") {
				t.Errorf("%s…%s, %v", head, tail, err)
			}
		})
	}
}
