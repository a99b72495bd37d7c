// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// remoteCommands are the commands for all kinds of resources of a management
// API.
func (a *app) remoteCommands() []*cobra.Command {
	var all []*cobra.Command
	for _, k := range remoteKinds() {
		all = append(all, a.remoteGroup(k))
	}
	return all
}

// remoteRun is what the commands of one kind share.
type remoteRun struct {
	*app
	kind                    *remoteKind
	flags                   remoteFlags
	consortium, environment string
}

func (a *app) remoteGroup(k *remoteKind) *cobra.Command {
	run := &remoteRun{app: a, kind: k}
	commands := []*cobra.Command{run.list(), run.show(), run.create(), run.update(), run.delete()}
	for _, v := range k.verbs {
		commands = append(commands, run.verb(v))
	}
	c := group(k.noun, "List, make, change and delete "+k.about, commands...)
	c.Long = c.Short + ",\nby the management API of a daemon. A resource is named by its name or its id."
	run.flags.add(c)
	if k.place > 0 {
		c.PersistentFlags().StringVar(&run.consortium, "consortium", "", "`name` or id; not needed if the key sees one only")
	}
	if k.place > 1 {
		c.PersistentFlags().StringVar(&run.environment, "environment", "", "`name` or id; not needed if the consortium has one only")
	}
	return c
}

// enter makes the client and finds the place.
func (r *remoteRun) enter(cmd *cobra.Command) (*remote, error) {
	c, err := r.flags.open(cmd)
	if err != nil {
		return nil, err
	}
	at := &remote{client: c}
	return at, told(at.enter(cmd.Context(), r.kind, r.consortium, r.environment))
}

// one sends a request about one resource and shows what came back.
func (r *remoteRun) one(cmd *cobra.Command, name, method, last string, body any) error {
	at, err := r.enter(cmd)
	if err != nil {
		return err
	}
	id, err := at.find(cmd.Context(), r.kind, name)
	if err != nil {
		return told(err)
	}
	path := at.path(r.kind, id)
	if last != "" {
		path = append(path, last)
	}
	var got record
	if _, err := at.client.Do(cmd.Context(), method, path, nil, body, &got); err != nil {
		return told(err)
	}
	return r.shown(cmd, got)
}

func (r *remoteRun) list() *cobra.Command {
	var where []string
	cmd := &cobra.Command{
		Use: "list", Short: "List them", Args: cobra.NoArgs,
		Example: fmt.Sprintf("  hsmsigner %s list\n  hsmsigner %s list --where state=failed --where 'name=^test'", r.kind.noun, r.kind.noun),
		RunE: func(cmd *cobra.Command, _ []string) error {
			query := url.Values{}
			for _, w := range where {
				field, condition, ok := strings.Cut(w, "=")
				if !ok || field == "" {
					return &usageError{errors.New("--where: want FIELD=CONDITION"), cmd.CommandPath()}
				}
				query.Add(field, condition)
			}
			at, err := r.enter(cmd)
			if err != nil {
				return err
			}
			all := []record{}
			if _, err := at.client.Do(cmd.Context(), http.MethodGet, at.path(r.kind), query, nil, &all); err != nil {
				return told(err)
			}
			return r.print(cmd, all, func(w io.Writer) {
				if len(all) == 0 {
					fmt.Fprintf(w, "no %s\n", r.kind.plural)
					return
				}
				table(w, columns(r.kind.columns, all))
			})
		},
	}
	cmd.Flags().StringArrayVar(&where, "where", nil, "only those of which this holds, as `FIELD=CONDITION` of the API's queries")
	return cmd
}

// columns are the rows of a table; a column in which nothing stands is left out.
func columns(fields []string, all []record) [][]string {
	fields = slices.DeleteFunc(slices.Clone(fields), func(f string) bool {
		return !slices.ContainsFunc(all, func(one record) bool { return fieldText(one[f]) != "" })
	})
	rows := [][]string{{}}
	for _, f := range fields {
		rows[0] = append(rows[0], strings.ToUpper(strings.Trim(strings.ReplaceAll(f, "_", " "), " ")))
	}
	for _, one := range all {
		var row []string
		for _, f := range fields {
			row = append(row, fieldText(one[f]))
		}
		rows = append(rows, row)
	}
	return rows
}

// fieldText is a value for people, on one line. What came over the network does not steer
// their terminal.
func fieldText(v any) string {
	var text string
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		text = v
	default:
		data, err := json.Marshal(v)
		if err != nil {
			return ""
		}
		text = string(data)
	}
	return strings.Map(func(c rune) rune {
		if c < ' ' || c >= 0x7f && c < 0xa0 {
			return ' '
		}
		return c
	}, text)
}

// shown prints one resource.
func (r *remoteRun) shown(cmd *cobra.Command, got record) error {
	if _, secret := got[r.kind.shownOnce].(string); secret {
		fmt.Fprintf(cmd.ErrOrStderr(), "the %s is shown this once: keep it\n", r.kind.shownOnce)
	}
	return r.print(cmd, got, func(w io.Writer) {
		first := []string{"_id", r.kind.title, "state", "state_reason"}
		var rows [][2]string
		for _, f := range first {
			rows = append(rows, [2]string{f, fieldText(got[f])})
		}
		var rest []string
		for f := range got {
			if !slices.Contains(first, f) {
				rest = append(rest, f)
			}
		}
		slices.Sort(rest)
		for _, f := range rest {
			inner, ok := got[f].(record)
			if !ok {
				rows = append(rows, [2]string{f, fieldText(got[f])})
				continue
			}
			var names []string
			for name := range inner {
				names = append(names, name)
			}
			slices.Sort(names)
			for _, name := range names {
				rows = append(rows, [2]string{f + "." + name, fieldText(inner[name])})
			}
		}
		pairs(w, rows)
	})
}

func (r *remoteRun) show() *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "Show one", Args: cobra.ExactArgs(1),
		Example: fmt.Sprintf("  hsmsigner %s show NAME --output json", r.kind.noun),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.one(cmd, args[0], http.MethodGet, "", nil)
		},
	}
}

func (r *remoteRun) verb(v remoteVerb) *cobra.Command {
	return &cobra.Command{
		Use: v.name + " NAME", Short: v.short, Args: cobra.ExactArgs(1),
		Example: fmt.Sprintf("  hsmsigner %s %s NAME", r.kind.noun, v.name),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.one(cmd, args[0], v.method, v.last, v.body)
		},
	}
}

// fields adds the flags of the kind's fields.
func (r *remoteRun) fields(cmd *cobra.Command, settings *[]string, create bool) {
	for _, f := range r.kind.flags {
		switch {
		case f.createOnly && !create:
		case f.kind == flagYes:
			cmd.Flags().Bool(f.name, false, f.usage)
		default:
			cmd.Flags().String(f.name, "", f.usage)
			if f.kind == flagFile {
				_ = cmd.MarkFlagFilename(f.name)
			}
		}
	}
	if r.kind.details {
		cmd.Flags().StringArrayVar(settings, "set", nil, "a field of details: `FIELD=VALUE`, FIELD:=JSON; a secret as FIELD.file=PATH, FIELD.env=NAME, or FIELD=- for standard input")
	}
}

func (r *remoteRun) create() *cobra.Command {
	var settings []string
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Make one", Args: cobra.ExactArgs(1), Example: "  " + r.kind.example,
		RunE: func(cmd *cobra.Command, args []string) error {
			at, err := r.enter(cmd)
			if err != nil {
				return err
			}
			body, err := r.kind.body(cmd, at, settings, true)
			if err != nil {
				return told(err)
			}
			body[r.kind.title] = args[0]
			var got record
			if _, err := at.client.Do(cmd.Context(), http.MethodPost, at.path(r.kind), nil, body, &got); err != nil {
				return told(err)
			}
			return r.shown(cmd, got)
		},
	}
	r.fields(cmd, &settings, true)
	return cmd
}

func (r *remoteRun) update() *cobra.Command {
	var settings []string
	var name string
	cmd := &cobra.Command{
		Use: "update NAME", Short: "Change one", Args: cobra.ExactArgs(1),
		Example: fmt.Sprintf("  hsmsigner %s update NAME --name ANOTHER", r.kind.noun),
		RunE: func(cmd *cobra.Command, args []string) error {
			at, err := r.enter(cmd)
			if err != nil {
				return err
			}
			body, err := r.kind.body(cmd, at, settings, false)
			if err != nil {
				return told(err)
			}
			if name != "" {
				body[r.kind.title] = name
			}
			if len(body) == 0 {
				return &usageError{errors.New("nothing to change: want a flag that says what"), cmd.CommandPath()}
			}
			return r.one(cmd, args[0], http.MethodPatch, "", body)
		},
	}
	r.fields(cmd, &settings, false)
	cmd.Flags().StringVar(&name, "name", "", "another name")
	return cmd
}

func (r *remoteRun) delete() *cobra.Command {
	return &cobra.Command{
		Use: "delete NAME", Short: "Delete one", Args: cobra.ExactArgs(1),
		Long:    "Deletes one. What others use is refused; a service with transactions under way goes\nwhen the last of them is final.",
		Example: fmt.Sprintf("  hsmsigner %s delete NAME", r.kind.noun),
		RunE: func(cmd *cobra.Command, args []string) error {
			at, err := r.enter(cmd)
			if err != nil {
				return err
			}
			id, err := at.find(cmd.Context(), r.kind, args[0])
			if err != nil {
				return told(err)
			}
			status, err := at.client.Do(cmd.Context(), http.MethodDelete, at.path(r.kind, id), nil, nil, nil)
			if err != nil {
				return told(err)
			}
			result := record{"_id": id, "gone": status == http.StatusNoContent}
			return r.print(cmd, result, func(w io.Writer) {
				if status == http.StatusNoContent {
					fmt.Fprintf(w, "%s %s is gone\n", r.kind.noun, id)
					return
				}
				fmt.Fprintf(w, "%s %s takes nothing new and goes when it has finished\n", r.kind.noun, id)
			})
		},
	}
}
