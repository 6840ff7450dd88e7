package test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// wrong is a document that must be refused, and what has to be said about it.
type wrong struct {
	name, text string
	want       []string // parts of standard error, the field's name first
}

// message is a document with that msg, otherwise right.
func message(msg string) string {
	return `{"target_type":"users","target":["u1"],"msg":` + msg + `}`
}

// and is a right document with one more member.
func and(member string) string {
	return `{"target_type":"users","target":["u1"],"msg":{"type":"txt","msg":"hello"},` + member + `}`
}

// to is a document with that list of targets, otherwise right.
func to(targets string) string {
	return `{"target_type":"users","target":` + targets + `,"msg":{"type":"txt","msg":"hello"}}`
}

// option is a right document with that member of options.
func option(member string) string { return and(`"options":{` + member + `}`) }

const longName = "a123456789a123456789a123456789a123456789a123456789a123456789a1234" // 65 bytes

// broken are texts that are no JSON, or no object.
func broken() []wrong {
	const sample = `{"target_type": "users","target": ["user2"],"msg": {"type": "loc","lat": "39.966","lng":"116.322",` +
		`."addr":"中国北京市海淀区中关村"},"from": "user1"}` // as the vendor's page has it
	return []wrong{
		{"vendor's location sample", sample, []string{"invalid JSON", fmt.Sprintf("line 1, column %d", strings.Index(sample, `."addr"`)+1)}},
		{"nothing", "", []string{"invalid JSON", "line 1, column 1"}},
		{"blank", " \n ", []string{"invalid JSON", "line 2"}},
		{"no JSON", "hello", []string{"invalid JSON", "line 1, column 1"}},
		{"cut off", "{\n\"target_type\":\"users\",\n\"target\":[\"u1\",", []string{"invalid JSON", "line 3, column"}},
		{"cut off in a string", `{"target_type":"us`, []string{"invalid JSON", "line 1, column"}},
		{"trailing data", and(`"from":"a"`) + " {}", []string{"invalid JSON", "line 1, column"}},
		{"trailing comma", `{"target_type":"users",}`, []string{"invalid JSON", "line 1, column 23"}},
		{"comment", "{\n// comment\n}", []string{"invalid JSON", "line 2, column 1"}},
		{"single quotes", `{'target_type':'users'}`, []string{"invalid JSON", "line 1, column 2"}},
		{"not UTF-8", and("\"from\":\"a\xff\""), []string{"invalid JSON", "UTF-8"}},
		{"control character", message("{\"type\":\"txt\",\"msg\":\"a\x01b\"}"), []string{"invalid JSON"}},
		{"half a surrogate", message(`{"type":"txt","msg":"\ud83d"}`), []string{"invalid JSON"}},
		{"too deep", and(`"ext":` + strings.Repeat("[", 20_000)), []string{"invalid JSON"}},
		{"array", "[" + and(`"from":"a"`) + "]", []string{"object"}},
		{"string", `"users"`, []string{"object"}},
		{"null", "null", []string{"object"}},
		{"repeated field", and(`"from":"a","from":"b"`), []string{"from"}},
		{"repeated field in msg", message(`{"type":"txt","msg":"a","msg":"b"}`), []string{"msg.msg"}},
		{"repeated option", option(`"weight":1,"weight":2`), []string{"options.weight"}},
	}
}

// fields are documents with a wrong field beside msg and target.
func fields() []wrong {
	return []wrong{
		{"empty object", "{}", []string{"target_type", "msg"}},
		{"no target_type", `{"target":["u1"],"msg":{"type":"txt","msg":"a"}}`, []string{"target_type"}},
		{"unknown target_type", `{"target_type":"user","target":["u1"],"msg":{"type":"txt","msg":"a"}}`, []string{"target_type"}},
		{"target_type number", `{"target_type":1,"target":["u1"],"msg":{"type":"txt","msg":"a"}}`, []string{"target_type"}},
		{"from empty", and(`"from":""`), []string{"from"}},
		{"from null", and(`"from":null`), []string{"from"}},
		{"from number", and(`"from":7`), []string{"from"}},
		{"from no user name", and(`"from":"a b"`), []string{"from"}},
		{"ext null", and(`"ext":null`), []string{"ext"}},
		{"ext string", and(`"ext":"{\"k\":\"v\"}"`), []string{"ext"}},
		{"ext array", and(`"ext":[1]`), []string{"ext"}},
		{"unknown field", and(`"body":{}`), []string{"body"}},
		{"field in other letters", and(`"From":"a"`), []string{"From"}},
		{"sync_device text", and(`"sync_device":"yes"`), []string{"sync_device"}},
		{"routetype", and(`"routetype":"ROUTE_OFFLINE"`), []string{"routetype"}},
		{"chatroom_msg_level", and(`"chatroom_msg_level":"urgent"`), []string{"chatroom_msg_level"}},
		{"need_group_ack", and(`"need_group_ack":1`), []string{"need_group_ack"}},
		{"roam_ignore_users", and(`"roam_ignore_users":["u1",2]`), []string{"roam_ignore_users"}},
		{"id empty", and(`"id":""`), []string{"id"}},
		{"id begins wrong", and(`"id":"-a"`), []string{"id"}},
		{"id with a space", and(`"id":"a b"`), []string{"id"}},
		{"id too long", and(`"id":"` + strings.Repeat("a", 129) + `"`), []string{"id"}},
		{"id number", and(`"id":12`), []string{"id"}},
		{"options null", and(`"options":null`), []string{"options"}},
		{"options array", and(`"options":[]`), []string{"options"}},
		{"unknown option", option(`"ttl":1`), []string{"options.ttl"}},
		{"name number", option(`"name":1`), []string{"options.name"}},
		{"priority", option(`"priority":"high"`), []string{"options.priority"}},
		{"priority number", option(`"priority":1`), []string{"options.priority"}},
		{"weight 0", option(`"weight":0`), []string{"options.weight"}},
		{"weight 11", option(`"weight":11`), []string{"options.weight"}},
		{"weight text", option(`"weight":"x"`), []string{"options.weight"}},
		{"weight broken", option(`"weight":1.5`), []string{"options.weight"}},
		{"max_rate negative", option(`"max_rate":-1`), []string{"options.max_rate"}},
		{"max_rate text", option(`"max_rate":"10/s"`), []string{"options.max_rate"}},
		{"on_unknown", option(`"on_unknown":"drop"`), []string{"options.on_unknown"}},
		{"send_at word", option(`"send_at":"tomorrow"`), []string{"options.send_at"}},
		{"send_at without zone", option(`"send_at":"2026-12-01T09:00:00"`), []string{"options.send_at"}},
		{"send_at number", option(`"send_at":1764579600`), []string{"options.send_at"}},
		{"expires_at no such day", option(`"expires_at":"2026-02-30T09:00:00Z"`), []string{"options.expires_at"}},
		{
			"expires_at before send_at", option(`"send_at":"2026-12-01T09:00:00Z","expires_at":"2026-12-01T09:30:00+01:00"`),
			[]string{"options.expires_at"},
		},
		{
			"several at once", `{"target_type":"x","target":["u1"],"msg":{"type":"img"},"from":"","options":{"weight":0,"priority":"x"}}`,
			[]string{"target_type", "msg.url", "from", "options.weight", "options.priority"},
		},
	}
}

// lists are documents with wrong targets.
func lists() []wrong {
	return []wrong{
		{"no target", `{"target_type":"users","msg":{"type":"txt","msg":"a"}}`, []string{"target"}},
		{"target text", to(`"u1"`), []string{"target"}},
		{"target null", to(`null`), []string{"target"}},
		{"target object", to(`{"0":"u1"}`), []string{"target"}},
		{"target empty", to(`[]`), []string{"target"}},
		{"target[3] number", to(`["u1","u2","u3",4]`), []string{"target[3]"}},
		{"target[0] null", to(`[null]`), []string{"target[0]"}},
		{"target[1] empty", to(`["u1",""]`), []string{"target[1]"}},
		{"target[0] with a space", to(`["an na"]`), []string{"target[0]"}},
		{"target[1] over 64 bytes", to(`["u1","` + longName + `"]`), []string{"target[1]"}},
		{"target[0] with NUL", to(`["a\u0000b"]`), []string{"target[0]"}},
		{"target[0] two names", to(`["u1\nu2"]`), []string{"target[0]"}},
		{"several", to(`["u1",2,"a b"]`), []string{"target[1]", "target[2]"}},
		{"group id", `{"target_type":"chatgroups","target":["1","Team A"],"msg":{"type":"txt","msg":"a"}}`, []string{"target[1]"}},
	}
}

// messages are documents whose message is wrong for its type.
func messages() []wrong {
	exts := make([]string, 17)
	for i := range exts {
		exts[i] = fmt.Sprintf(`"k%d":"v"`, i)
	}
	return []wrong{
		{"no msg", `{"target_type":"users","target":["u1"]}`, []string{"msg"}},
		{"msg text", message(`"hello"`), []string{"msg"}},
		{"msg null", message(`null`), []string{"msg"}},
		{"no type", message(`{"msg":"hello"}`), []string{"msg.type"}},
		{"type unknown", message(`{"type":"text","msg":"hello"}`), []string{"msg.type"}},
		{"type number", message(`{"type":1,"msg":"hello"}`), []string{"msg.type"}},
		{"unknown field", message(`{"type":"txt","msg":"hello","text":"hello"}`), []string{"msg.text"}},
		{"txt without msg", message(`{"type":"txt"}`), []string{"msg.msg"}},
		{"txt empty", message(`{"type":"txt","msg":""}`), []string{"msg.msg"}},
		{"txt number", message(`{"type":"txt","msg":1}`), []string{"msg.msg"}},
		{"img without url", message(`{"type":"img","filename":"a.jpg"}`), []string{"msg.url"}},
		{"img url empty", message(`{"type":"img","url":""}`), []string{"msg.url"}},
		{"img size text", message(`{"type":"img","url":"u","size":"480x720"}`), []string{"msg.size"}},
		{"img width text", message(`{"type":"img","url":"u","size":{"width":"480","height":720}}`), []string{"msg.size.width"}},
		{"img secret number", message(`{"type":"img","url":"u","secret":1}`), []string{"msg.secret"}},
		{"audio without url", message(`{"type":"audio","length":10}`), []string{"msg.url"}},
		{"audio length text", message(`{"type":"audio","url":"u","length":"10"}`), []string{"msg.length"}},
		{"audio length negative", message(`{"type":"audio","url":"u","length":-1}`), []string{"msg.length"}},
		{"video without url", message(`{"type":"video","thumb":"t"}`), []string{"msg.url"}},
		{"video file_length", message(`{"type":"video","url":"u","file_length":"58103"}`), []string{"msg.file_length"}},
		{"video thumb", message(`{"type":"video","url":"u","thumb":{}}`), []string{"msg.thumb"}},
		{"file without url", message(`{"type":"file","filename":"a.pdf"}`), []string{"msg.url"}},
		{"file filename", message(`{"type":"file","url":"u","filename":null}`), []string{"msg.filename"}},
		{"loc without addr", message(`{"type":"loc","lat":"39.966","lng":"116.322"}`), []string{"msg.addr"}},
		{"loc without both", message(`{"type":"loc","addr":"here"}`), []string{"msg.lat", "msg.lng"}},
		{"loc lat number", message(`{"type":"loc","lat":39.966,"lng":"116.322","addr":"here"}`), []string{"msg.lat"}},
		{"cmd without action", message(`{"type":"cmd"}`), []string{"msg.action"}},
		{"cmd action", message(`{"type":"cmd","action":["a"]}`), []string{"msg.action"}},
		{"custom without event", message(`{"type":"custom","customExts":{}}`), []string{"msg.customEvent"}},
		{"custom event of 33", message(`{"type":"custom","customEvent":"` + longName[:33] + `"}`), []string{"msg.customEvent"}},
		{"custom event with colon", message(`{"type":"custom","customEvent":"a:b"}`), []string{"msg.customEvent"}},
		{"custom 17 exts", message(`{"type":"custom","customEvent":"e","customExts":{` + strings.Join(exts, ",") + `}}`), []string{"msg.customExts"}},
		{"custom ext number", message(`{"type":"custom","customEvent":"e","customExts":{"size":16}}`), []string{"msg.customExts.size"}},
		{"custom exts array", message(`{"type":"custom","customEvent":"e","customExts":[]}`), []string{"msg.customExts"}},
		{"over 4,096 bytes", message(`{"type":"txt","msg":"` + strings.Repeat("a", 4096) + `"}`), []string{"msg", "4096"}},
		{
			"over 4,096 bytes with ext",
			`{"target_type":"users","target":["u1"],"msg":{"type":"txt","msg":"` + strings.Repeat("é", 1500) +
				`"},"ext":{"k":"` + strings.Repeat("a", 1200) + `"}}`,
			[]string{"msg", "ext", "4096"},
		},
	}
}

func TestWrongDocuments(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for group, list := range map[string][]wrong{"text": broken(), "field": fields(), "target": lists(), "msg": messages()} {
		for _, tt := range list {
			t.Run(group+"/"+tt.name, func(t *testing.T) {
				w := w.in(t)
				w.refuses(w.enqueueWith(tt.text, "send", "--job", "-"), tt.want...)
			})
		}
	}
}

// refuses checks that a command found its input wrong, said so in these words,
// and left nothing behind. A field's name has to stand as a word of its own.
func (w *world) refuses(got result, words ...string) {
	w.t.Helper()
	if got.code != 2 || got.out != "" {
		w.t.Errorf("exit %d, standard output %q", got.code, got.out)
	}
	for _, word := range words {
		if !regexp.MustCompile(`(^|[^\w.])` + regexp.QuoteMeta(word) + `($|[^\w.\[])`).MatchString(got.err) {
			w.t.Errorf("%q is not named", word)
		}
	}
	if strings.Contains(got.err, "panic") || strings.Contains(got.err, "goroutine") || got.err == "" {
		w.t.Errorf("standard error is %q", got.err)
	}
	if n := w.stored(); n != 0 {
		w.t.Fatalf("%d keys were stored", n)
	}
}

// The same rules hold for what flags say, and flags have some of their own.
func TestWrongFlags(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, tt := range map[string]struct {
		args []string
		want []string
	}{
		"no message":       {[]string{"--target", "u1"}, []string{"message", "--text", "--msg"}},
		"no target":        {[]string{"--text", "hello"}, []string{"target"}},
		"text empty":       {[]string{"--target", "u1", "--text", ""}, []string{"msg.msg"}},
		"type unknown":     {[]string{"--target", "u1", "--msg", `{"type":"x"}`}, []string{"msg.type"}},
		"type alone":       {[]string{"--target", "u1", "--type", "img"}, []string{"--msg"}},
		"text for img":     {[]string{"--target", "u1", "--type", "img", "--text", "a"}, []string{"--text"}},
		"msg and text":     {[]string{"--target", "u1", "--msg", `{"type":"txt","msg":"a"}`, "--text", "a"}, []string{"--msg", "--text"}},
		"msg no JSON":      {[]string{"--target", "u1", "--msg", `{"type":`}, []string{"--msg", "invalid JSON"}},
		"ext no JSON":      {[]string{"--target", "u1", "--text", "a", "--ext", `{k:1}`}, []string{"--ext", "invalid JSON"}},
		"ext null":         {[]string{"--target", "u1", "--text", "a", "--ext", "null"}, []string{"ext"}},
		"from empty":       {[]string{"--target", "u1", "--text", "a", "--from", ""}, []string{"from"}},
		"target_type":      {[]string{"--target", "u1", "--text", "a", "--target-type", "groups"}, []string{"target_type"}},
		"target":           {[]string{"--target", "u1", "--target", "a b", "--text", "a"}, []string{"target[1]"}},
		"target empty":     {[]string{"--target", "", "--text", "a"}, []string{"target[0]"}},
		"id":               {[]string{"--target", "u1", "--text", "a", "--id", "a/b"}, []string{"id"}},
		"priority":         {[]string{"--target", "u1", "--text", "a", "--priority", "high"}, []string{"options.priority"}},
		"weight":           {[]string{"--target", "u1", "--text", "a", "--weight", "11"}, []string{"options.weight"}},
		"weight no number": {[]string{"--target", "u1", "--text", "a", "--weight", "x"}, []string{"--weight"}},
		"max rate":         {[]string{"--target", "u1", "--text", "a", "--max-rate=-1"}, []string{"options.max_rate"}},
		"send at":          {[]string{"--target", "u1", "--text", "a", "--send-at", "9:00"}, []string{"options.send_at"}},
		"expires at":       {[]string{"--target", "u1", "--text", "a", "--expires-at", "never"}, []string{"options.expires_at"}},
		"on unknown":       {[]string{"--target", "u1", "--text", "a", "--on-unknown", "x"}, []string{"options.on_unknown"}},
		"job and more":     {[]string{"--job", exampleFile("txt"), "--from", "a"}, []string{"--job"}},
		"job and list":     {[]string{"--job", exampleFile("txt"), "--targets", "-"}, []string{"target"}},
		"job absent":       {[]string{"--job", "absent.json"}, []string{"--job", "absent.json"}},
		"text not UTF-8":   {[]string{"--target", "u1", "--text", "x\xff"}, []string{"not valid UTF-8"}},
		"name twice":       {[]string{"--target", "u1", "--msg", `{"type":"txt","msg":"a","msg":"b"}`}, []string{"--msg", "duplicate"}},
		"unknown flag":     {[]string{"--target", "u1", "--text", "a", "--colour", "red"}, []string{"--colour"}},
		"stray argument":   {[]string{"--target", "u1", "--text", "a", "u2"}, []string{"u2"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			w.refuses(w.enqueue(append([]string{"send"}, tt.args...)...), tt.want...)
		})
	}
}

// What stands just within the limits is taken.
func TestDocumentsAtTheLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.worker()
	exts := make(object)
	for i := range 16 {
		exts[fmt.Sprint("k", i)] = ""
	}
	for name, doc := range map[string]string{
		"name of 64 bytes":   to(`["` + longName[:64] + `"]`),
		"customEvent of 32":  message(`{"type":"custom","customEvent":"` + longName[:32] + `"}`),
		"16 customExts":      message(encode(t, object{"type": "custom", "customEvent": "e-_/. E", "customExts": exts})),
		"4,096 bytes":        message(`{"type":"txt","msg":"` + strings.Repeat("a", 4096-len(`{"type":"txt","msg":""}`)) + `"}`),
		"id of 128":          and(`"id":"` + strings.Repeat("a", 128) + `"`),
		"BOM":                "\ufeff" + to(`["u1"]`),
		"white space around": "\r\n\t " + to(`["u1"]`) + "\r\n",
		"escapes are one":    message(`{"type":"txt","msg":"` + strings.Repeat(`\u0061`, 4000) + `"}`),
	} {
		t.Run(name, func(t *testing.T) {
			if got := w.in(t).enqueueWith(doc, "send", "--job", "-", "--wait"); got.code != 0 {
				t.Errorf("exit %d\n%s", got.code, got.err)
			}
		})
	}
}
