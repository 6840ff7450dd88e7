package gateway

import "time"

// The types of this file only describe bodies: package tasks reads them, strictly
// and as a stream, the same way everywhere.

type jobDocument struct {
	ID         string      `json:"id,omitempty" pattern:"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$" doc:"Idempotency key; made for you when absent." example:"spring-sale"`
	TargetType string      `json:"target_type" enum:"users,chatgroups,chatrooms"`
	Target     []string    `json:"target,omitempty" doc:"Any number. User names are folded to lower case; repeated names are sent to once. Without it the job is loading until it is started." example:"[\"u1\",\"u2\"]"`
	Msg        message     `json:"msg"`
	From       string      `json:"from,omitempty" minLength:"1" doc:"Sender; the Chat API's default is admin." example:"admin"`
	Ext        ext         `json:"ext,omitempty" doc:"Extension object."`
	Options    *jobOptions `json:"options,omitempty"`
	PassedOn
}

// PassedOn are fields that are the Chat API's alone. It is exported for package huma,
// which leaves others out.
type PassedOn struct {
	SyncDevice       *bool    `json:"sync_device,omitempty" doc:"Passed on to the Chat API."`
	RouteType        string   `json:"routetype,omitempty" enum:"ROUTE_ONLINE" doc:"Passed on to the Chat API."`
	ChatroomMsgLevel string   `json:"chatroom_msg_level,omitempty" enum:"high,normal,low" doc:"Passed on to the Chat API."`
	NeedGroupAck     *bool    `json:"need_group_ack,omitempty" doc:"Passed on to the Chat API."`
	RoamIgnoreUsers  []string `json:"roam_ignore_users,omitempty" maxItems:"20" doc:"Passed on to the Chat API."`
}

type message struct {
	_    struct{} `additionalProperties:"true"`
	Type string   `json:"type" enum:"txt,img,audio,video,loc,cmd,custom,file" doc:"Each type has required fields of its own: txt msg; img, audio, video, file url; loc lat, lng, addr; cmd action; custom customEvent." example:"txt"`
	Msg  string   `json:"msg,omitempty" doc:"Text of a txt message." example:"hello"`
}

type ext map[string]any

type jobOptions struct {
	Name      string    `json:"name,omitempty" maxLength:"200" doc:"For people."`
	Priority  string    `json:"priority,omitempty" enum:"bulk,urgent" default:"bulk" doc:"urgent never waits behind bulk."`
	Weight    int       `json:"weight,omitempty" minimum:"1" maximum:"10" default:"1" doc:"Share among running bulk jobs."`
	MaxRate   int       `json:"max_rate,omitempty" minimum:"0" default:"0" doc:"Targets per second of this job; 0 = no cap of its own."`
	SendAt    time.Time `json:"send_at,omitempty" doc:"When to begin."`
	ExpiresAt time.Time `json:"expires_at,omitempty" doc:"When to end, with what is pending cancelled."`
	OnUnknown string    `json:"on_unknown,omitempty" enum:"resend,hold" default:"resend" doc:"After a lost answer: resend (at least once) or hold (at most once)."`
}

type unifiedCall struct {
	TargetType string   `json:"target_type" enum:"users,chatgroups,chatrooms"`
	Target     []string `json:"target" doc:"Any number."`
	Msg        message  `json:"msg"`
	From       string   `json:"from,omitempty" minLength:"1"`
	Ext        ext      `json:"ext,omitempty"`
	PassedOn
}

type splitCall struct {
	From string   `json:"from,omitempty" minLength:"1"`
	To   []string `json:"to" doc:"Any number."`
	Type string   `json:"type" enum:"txt,img,audio,video,loc,cmd,custom,file"`
	Body ext      `json:"body" doc:"The fields of msg but its type."`
	Ext  ext      `json:"ext,omitempty"`
	PassedOn
}
