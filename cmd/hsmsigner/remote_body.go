// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hsmsigner/hsmsigner/internal/config"
)

// put sets a field, whose path has dots, in a body.
func put(body record, path string, value any) error {
	names := strings.Split(path, ".")
	for _, name := range names[:len(names)-1] {
		inner, ok := body[name].(record)
		if !ok && body[name] != nil {
			return fmt.Errorf("%s is given both as a value and with fields of its own", name)
		}
		if inner == nil {
			inner = record{}
			body[name] = inner
		}
		body = inner
	}
	body[names[len(names)-1]] = value
	return nil
}

// body makes the body of a request from the flags that were given.
func (k *remoteKind) body(cmd *cobra.Command, r *remote, settings []string, create bool) (record, error) {
	body := record{}
	for _, f := range k.flags {
		given := cmd.Flags().Lookup(f.name)
		if given == nil || !given.Changed {
			if f.required && create {
				return nil, &usageError{fmt.Errorf("--%s is missing: %s", f.name, f.usage), cmd.CommandPath()}
			}
			continue
		}
		value, err := f.value(cmd.Context(), r, given.Value.String())
		if err == nil && f.of == "consortium" {
			r.consortium, _ = value.(string) // in which the membership of an API key is
		}
		if err == nil {
			err = put(body, f.field, value)
		}
		if err != nil {
			return nil, fmt.Errorf("--%s: %w", f.name, err)
		}
	}
	for _, s := range settings {
		if err := setDetail(body, s, cmd.InOrStdin()); err != nil {
			return nil, fmt.Errorf("--set: %w", err)
		}
	}
	if create {
		for field, value := range k.fixed {
			body[field] = value
		}
		if k.plural == "apikeys" {
			return record{"grants": []any{body}}, nil
		}
	}
	return body, nil
}

func (f remoteFlag) value(ctx context.Context, r *remote, text string) (any, error) {
	switch f.kind {
	case flagNumber:
		n, err := strconv.ParseUint(text, 10, 53)
		if err != nil {
			return nil, errors.New("want a whole number")
		}
		return n, nil
	case flagYes:
		return text == "true", nil
	case flagReference:
		return r.find(ctx, kindCalled(f.of), text)
	case flagURL:
		u, err := url.Parse(text)
		if err != nil {
			return nil, errors.New("is no URL")
		}
		if _, secret := u.User.Password(); secret {
			return nil, fmt.Errorf("holds a password, which others can read on the command line: want --%s-file", f.name)
		}
	case flagFile:
		return config.SecretFile(text).Reveal()
	}
	return text, nil
}

// setDetail reads one --set: FIELD=TEXT, FIELD:=JSON, FIELD.file=PATH,
// FIELD.env=NAME or FIELD=- for standard input. A secret is never taken from the
// command line, where others can read it.
func setDetail(body record, setting string, stdin io.Reader) error {
	name, text, ok := strings.Cut(setting, "=")
	if !ok || name == "" {
		return errors.New("want FIELD=VALUE") // what was meant may be a secret
	}
	var value any = text
	secret := false
	switch {
	case strings.HasSuffix(name, ":"):
		name = strings.TrimSuffix(name, ":")
		if err := json.Unmarshal([]byte(text), &value); err != nil {
			return fmt.Errorf("%s: is not JSON", name)
		}
	case strings.HasSuffix(name, ".file"):
		name, secret = strings.TrimSuffix(name, ".file"), true
		v, err := config.SecretFile(text).Reveal()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		value = v
	case strings.HasSuffix(name, ".env"):
		name, secret = strings.TrimSuffix(name, ".env"), true
		if value = os.Getenv(text); value == "" {
			return fmt.Errorf("%s: the environment variable %s is not set", name, text)
		}
	case text == "-":
		secret = true
		data, err := io.ReadAll(io.LimitReader(stdin, 64<<10))
		if err != nil {
			return fmt.Errorf("%s: standard input: %w", name, err)
		}
		if value = strings.TrimRight(string(data), "\r\n"); value == "" {
			return fmt.Errorf("%s: standard input is empty", name)
		}
	}
	if !secret && slices.Contains(config.SecretDetails(), name) {
		return fmt.Errorf("%s: must not stand on the command line, where others can read it: want %s.file=PATH, %s.env=NAME, or - for standard input", name, name, name)
	}
	return put(body, "details."+name, value)
}
