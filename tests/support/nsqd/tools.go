//go:build tools

// Package nsqd pins the nsqd that the tests run. nsq's own go.mod replaces a module, so that
// "go install …@v1.3.0" refuses it; this module repeats the replacement.
package nsqd

import (
	_ "github.com/nsqio/nsq/apps/nsqd"
	_ "github.com/nsqio/nsq/apps/nsqlookupd"
)
