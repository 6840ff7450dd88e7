package chatsim

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// refusedValue stands in the answer for a target of Config.Refused: neither
// "success" nor digits.
const refusedValue = "fail: not allowed"

// send handles a message call from its fault to its answer. rng is drawn from
// in a fixed order: fault, jitter, order of names.
func (s *Server) send(c *call, f form, rng *rand.Rand) answer {
	inFlight := s.inFlight.Add(1)
	defer s.inFlight.Add(-1)
	c.record.count(func(st *Stats) {
		st.Calls++
		st.Peak = max(st.Peak, int(inFlight))
		st.LargestBody = max(st.LargestBody, len(c.body), int(c.request.ContentLength))
	})
	if len(c.body) > s.cfg.MaxBody {
		return c.refuse(bodyTooLarge) // by the proxy, before the service sees the call
	}
	return s.venture(c, rng, func(c *call) answer {
		req, refused := s.examine(c, f)
		if refused != nil {
			return c.refuse(*refused)
		}
		c.record.accept(req, c.body, s.fates)
		c.accepted = req
		return answer{status: http.StatusOK, body: s.success(c, f, req, rng)}
	})
}

// venture takes a call through its latency and the fault it meets. What handle
// refuses by the rules keeps its plain refusal.
func (s *Server) venture(c *call, rng *rand.Rand, handle func(*call) answer) answer {
	fault, faulty := drawFault(*s.faults.Load(), rng)
	latency := s.cfg.Latency + time.Duration(rng.Float64()*float64(s.cfg.LatencyJitter))

	return s.travel(c, latency, func(c *call) answer {
		if faulty && !effects[fault.Kind].accepted {
			return s.strike(c, fault, answer{})
		}
		a := handle(c)
		if faulty && a.status == http.StatusOK {
			return s.strike(c, fault, a)
		}
		return a
	})
}

// examine checks a call in the order a gateway and a service would: token,
// media type, content, and at last the limits.
func (s *Server) examine(c *call, f form) (*request, *refusal) {
	if refused := s.tokens.admit(c.request.Header.Get("Authorization"), s.cfg.TokenCalls); refused != nil {
		return nil, refused
	}
	if !isJSON(c.request.Header) {
		return nil, &wrongMedia
	}
	req, refused := f.decode(c.body, c.scratch.targets)
	if refused != nil {
		return nil, refused
	}
	c.scratch.targets = req.targets
	c.record.count(func(st *Stats) { st.MostTargets = max(st.MostTargets, len(req.targets)) })
	return req, s.allow(req)
}

// allow holds a well-formed message against the limits.
func (s *Server) allow(req *request) *refusal {
	if len(req.msg)+len(req.ext) > s.cfg.MaxMessage {
		r := sendError("message is too large")
		r.code = 14007
		return &r
	}
	if limit := s.cfg.maxTargets(req.targetType); len(req.targets) > limit {
		r := sendError("params to's size can't exceed limit %d", limit)
		return &r
	}
	for _, name := range req.targets {
		if s.fates[name] == fatePoison {
			r := illegalArgument("illegal target: %s", name)
			return &r
		}
	}
	switch s.quota.admit(req.targetType, len(req.targets), s.cfg.PlanCalls) {
	case planBreach:
		return &planUsedUp
	case callBreach:
		return &tooManyCalls
	case targetBreach:
		r := s.reworded(tooManyTargets)
		return &r
	default:
		return nil
	}
}

// reworded is r in the words the configuration wants.
func (s *Server) reworded(r refusal) refusal {
	if s.cfg.OldWording && r == tooManyTargets {
		r.description = "Forbidden for url"
	}
	return r
}

// strike lets a fault befall a call whose answer would have been a.
func (s *Server) strike(c *call, fault Fault, a answer) answer {
	c.record.count(func(st *Stats) { st.Faults[fault.Kind]++ })
	if !wait(c.request.Context(), fault.Delay, s.closed) {
		return answer{ending: endGone}
	}
	effect := effects[fault.Kind]
	if effect.refusal != (refusal{}) {
		a = s.reworded(effect.refusal).answer(c.took())
	}
	if effect.ending == endHang {
		wait(c.request.Context(), forever, s.closed)
	}
	a.ending = effect.ending
	a.retryAfter = fault.RetryAfter
	return a
}

// success renders the 200 of the vendor page by hand: it is the bulk of what
// the simulator does. Names come in shuffled order, each once.
func (s *Server) success(c *call, f form, req *request, rng *rand.Rand) []byte {
	query := c.request.URL.RawQuery
	withIDs := f.split != "" || query != "" && c.request.URL.Query().Get("useMsgId") == "true"
	id := s.ids.Add(int64(len(req.targets))) - int64(len(req.targets))
	names := req.targets
	rng.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	clear(c.scratch.seen)

	out := append(s.openSuccess(c), `"data":{`...)
	for _, name := range names {
		id++
		end := s.fates[name]
		if s.cfg.LowerCaseNames && req.targetType == Users {
			name = strings.ToLower(name)
		}
		if _, again := c.scratch.seen[name]; again || end == fateMissing {
			continue
		}
		if len(c.scratch.seen) > 0 {
			out = append(out, ',')
		}
		c.scratch.seen[name] = struct{}{}
		out = appendQuoted(out, name)
		switch {
		case end == fateRefused:
			out = append(out, `:"`+refusedValue+`"`...)
		case withIDs:
			out = append(strconv.AppendInt(append(out, `:"`...), id, 10), '"')
		default:
			out = append(out, `:"success"`...)
		}
	}
	out = s.closeSuccess(c, append(out, '}'))
	c.scratch.out = out
	return out
}

// openSuccess begins a 200, up to the part that is the call's own.
func (s *Server) openSuccess(c *call) []byte {
	out := c.scratch.out[:0]
	out = append(out, `{"action":"post","application":"`+applicationID+`","path":"`...)
	out = append(out, strings.TrimPrefix(c.request.URL.Path, "/"+s.cfg.Org+"/"+s.cfg.App)...)
	out = append(out, `","uri":`...)
	out = appendQuoted(out, "http://"+c.request.Host+c.request.URL.Path)
	return append(out, ',')
}

// closeSuccess ends a 200 after the part that is the call's own.
func (s *Server) closeSuccess(c *call, out []byte) []byte {
	out = append(out, `,"timestamp":`...)
	out = strconv.AppendInt(out, time.Now().UnixMilli(), 10)
	out = append(out, `,"duration":`...)
	out = strconv.AppendInt(out, c.took().Milliseconds(), 10)
	return append(out, `,"organization":"`+s.cfg.Org+`","applicationName":"`+s.cfg.App+`"}`...)
}

// appendQuoted appends text as a JSON string.
func appendQuoted(out []byte, text string) []byte {
	out, _ = jsontext.AppendQuote(out, text) // invalid UTF-8 is replaced, all the error says
	return out
}
