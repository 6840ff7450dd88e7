package chatsim

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"
)

// applicationID is the application's UUID in every answer (vendor page's sample).
const applicationID = "8be024f0-e978-11e8-b697-5d598d5f8402"

// answer is what goes back to the client, and how it ends.
type answer struct {
	status     int
	body       []byte
	media      string        // of the body; empty = JSON
	allow      string        // the method of a 405's Allow header
	retryAfter time.Duration // 0 = no header
	ending     ending
}

// ending says how much of an answer the client gets to see.
type ending int

const (
	endWhole     ending = iota
	endTruncated        // half the body, then the connection ends
	endEmpty            // the status and no body
	endReset            // nothing: the connection is reset
	endHang             // nothing, until the client leaves or the server closes
	endGone             // nothing: the client has left, or the server closes
)

// refusal is an answer that is not 200.
type refusal struct {
	status      int
	name        string // the vendor's `error`; empty: the body is empty, or a page
	description string
	exception   string // empty = left out
	code        int    // the vendor's error_code; 0 = left out
	page        bool   // the body is the HTML page of a proxy
}

// The refusals that stand in the vendor page or in CHAT-API.
var (
	tooManyCalls   = refusal{status: http.StatusTooManyRequests, name: "reach_limit", description: "This request has reached the limit. Please try later."}
	tooManyTargets = refusal{status: http.StatusForbidden, name: "message_send_error", description: "message send reach limit"}
	planUsedUp     = refusal{status: http.StatusTooManyRequests, name: "resource_limited", description: "the resources of the plan are used up"}
	serverError    = refusal{status: http.StatusInternalServerError, name: "internal_server_error", description: "internal error"}
	unavailable    = refusal{status: http.StatusServiceUnavailable}
	forbidden      = refusal{status: http.StatusForbidden, name: "forbidden_op", description: "this operation is not allowed"}
	unknownPath    = refusal{status: http.StatusNotFound, name: "service_resource_not_found", description: "Service resource not found"}
	wrongMethod    = refusal{status: http.StatusMethodNotAllowed, name: "method_not_allowed", description: "Request method not supported"}
	wrongMedia     = refusal{status: http.StatusUnsupportedMediaType, name: "unsupported_media_type", description: "Content-Type must be application/json"}
	notMultipart   = refusal{status: http.StatusUnsupportedMediaType, name: "unsupported_media_type", description: "Content-Type must be multipart/form-data"}
	bodyTooLarge   = proxyPage(http.StatusRequestEntityTooLarge)
	noToken        = refusal{
		status: http.StatusUnauthorized, name: "unauthorized",
		description: "Unable to authenticate (OAuth)", exception: "ChatSecurityException",
	}
	deadToken = refusal{
		status: http.StatusUnauthorized, name: "unauthorized",
		description: "Unable to authenticate due to expired access token", exception: "ChatSecurityException",
	}
	badToken = refusal{
		status: http.StatusUnauthorized, name: "auth_bad_access_token",
		description: "Unable to authenticate due to corrupt access token",
		exception:   "org.apache.usergrid.rest.exceptions.SecurityException",
	}
)

// illegalArgument is the vendor page's answer to a request that is JSON but
// not a message.
func illegalArgument(format string, args ...any) refusal {
	return refusal{
		status: http.StatusBadRequest, name: "illegal_argument",
		description: fmt.Sprintf(format, args...), exception: "java.lang.IllegalArgumentException",
	}
}

// sendError is the newer service's answer to a message it will not send.
func sendError(format string, args ...any) refusal {
	return refusal{status: http.StatusBadRequest, name: "message_send_error", description: fmt.Sprintf(format, args...)}
}

// proxyPage is what the proxy before the service answers: HTML, no JSON.
func proxyPage(status int) refusal {
	return refusal{status: status, page: true}
}

// key names a refusal in Stats.Refused.
func (f refusal) key() string {
	if f.name == "" {
		return strconv.Itoa(f.status)
	}
	return strconv.Itoa(f.status) + " " + f.name
}

// answer renders a refusal; took is the time the call has lasted so far.
func (f refusal) answer(took time.Duration) answer {
	switch {
	case f.page:
		title := fmt.Sprintf("%d %s", f.status, http.StatusText(f.status))
		page := "<html>\r\n<head><title>" + title + "</title></head>\r\n<body>\r\n<center><h1>" + title +
			"</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
		return answer{status: f.status, body: []byte(page), media: "text/html"}
	case f.name == "":
		return answer{status: f.status}
	}
	body, err := json.Marshal(struct {
		Error       string `json:"error"`
		Exception   string `json:"exception,omitempty"`
		Timestamp   int64  `json:"timestamp"`
		Duration    int64  `json:"duration"`
		Description string `json:"error_description"`
		Code        int    `json:"error_code,omitempty"`
	}{f.name, f.exception, time.Now().UnixMilli(), took.Milliseconds(), f.description, f.code})
	if err != nil { // strings and numbers always encode
		panic(err)
	}
	return answer{status: f.status, body: body}
}

// write puts the answer on the wire, or keeps it off. It panics with
// http.ErrAbortHandler to end a connection without a word.
func (a answer) write(w http.ResponseWriter) {
	switch a.ending {
	case endReset:
		reset(w)
		return
	case endHang, endGone:
		panic(http.ErrAbortHandler)
	case endEmpty:
		a.body = nil
	}
	header := w.Header()
	switch {
	case len(a.body) == 0:
	case a.media != "":
		header.Set("Content-Type", a.media)
	default:
		header.Set("Content-Type", "application/json;charset=utf-8")
	}
	if a.retryAfter > 0 {
		header.Set("Retry-After", strconv.FormatInt(int64((a.retryAfter+time.Second-1)/time.Second), 10))
	}
	if a.allow != "" {
		header.Set("Allow", a.allow)
	}
	header.Set("Content-Length", strconv.Itoa(len(a.body)))
	w.WriteHeader(a.status)
	if a.ending == endTruncated {
		// net/http ends a connection whose announced length was not written.
		a.body = a.body[:len(a.body)/2]
	}
	_, _ = w.Write(a.body) // a client that is gone needs no answer
}

// reset ends the connection with a TCP reset (RST) instead of a normal close.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // what Close sends is then a reset; a dead connection needs none
	}
	_ = conn.Close()
}
