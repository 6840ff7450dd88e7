// Package chatsim is a Chat REST API for demonstrations, tests and benchmarks:
// it takes messages and files by the vendor's rules, keeps the documented limits,
// counts who was delivered to, and misbehaves on request.
//
// The invariant: a target is in the journal exactly as often as a call that
// named it was accepted. Whatever the client saw of that call (an answer, a
// reset, half a body, nothing), the journal tells what truly happened, so a
// sender's own account of sent, failed and unknown targets can be judged by it.
//
// It judges the sender, so it is strict: it has its own wire types, shares no
// code with the sender, and refuses what the vendor's page does not allow.
// Facts come from the vendor's "Send a message" page ("vendor page") and from
// the notes on newer vendor documents ("CHAT-API").
//
// It is not a chat server: nothing is delivered to anybody, users and groups
// need not exist (the vendor does not check either), nothing outlives the
// process, and it has no place outside the loopback interface or a private
// network of containers.
package chatsim
