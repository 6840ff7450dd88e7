// Command go shows how a Go backend sends through Crier's HTTP gateway with
// nothing but net/http: a one-time code, and a text to a list of any size.
//
//	go run ./examples/go code login-4711 u1 "Your code is 123456"
//	go run ./examples/go campaign spring-sale customers.txt "Spring sale: 20 % off"
//
// CRIER_URL is where the gateway is, CRIER_API_KEY the key that it asks for, if it
// asks for one. Both commands print the id of the job, and may be run again: the
// same id is the same job. client.go is what to copy.
package main

import (
	"bufio"
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"
)

func main() {
	url := flag.String("url", cmp.Or(os.Getenv("CRIER_URL"), "http://127.0.0.1:8080"), "where the gateway is")
	flag.Parse()
	if flag.NArg() != 4 {
		fmt.Fprintln(os.Stderr, "usage: code ID USER TEXT | campaign ID FILE TEXT")
		os.Exit(2)
	}
	c := NewClient(*url, os.Getenv("CRIER_API_KEY"))
	if err := run(c, flag.Arg(0), flag.Arg(1), flag.Arg(2), flag.Arg(3)); err != nil {
		fmt.Fprintln(os.Stderr, "crier:", err)
		os.Exit(1)
	}
}

func run(c *Client, command, id, who, text string) error {
	job := Job{TargetType: "users", Msg: map[string]any{"type": "txt", "msg": text}}
	var s Status
	var err error
	switch command {
	case "code":
		// After a minute its user asks for another one.
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		job.Target = []string{who}
		job.Options = map[string]any{"priority": "urgent"} // never waits behind bulk
		s, err = c.Send(ctx, id, job)
	case "campaign":
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		defer cancel()
		s, err = c.Stream(ctx, id, job, linesOf(who))
	default:
		return fmt.Errorf("%q is neither code nor campaign", command)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(os.Stdout, s.ID)
	return err
}

// linesOf gives a name a line. In your backend it is a query whose rows are fetched
// as they are needed.
func linesOf(file string) Names {
	return func(give func(string) error) error {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }() // read only
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			if name := strings.TrimSpace(lines.Text()); name != "" {
				if err := give(name); err != nil {
					return err
				}
			}
		}
		return lines.Err()
	}
}
