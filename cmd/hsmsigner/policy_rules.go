// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"

	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/judge"
	"github.com/hsmsigner/hsmsigner/internal/policy"
)

// declaredRules are the rules of the config file, checked: those at its top, which
// are for everything, and those of wallets. The error has all that is wrong.
func declaredRules(c *config.Config) ([]judge.Declared, error) {
	var all []judge.Declared
	var problems policy.Errors
	add := func(wallet string, p config.Policy) error {
		if !p.Set() {
			return nil
		}
		d, err := judge.Declare(wallet, p.File, p.Text)
		var wrong policy.Errors
		switch {
		case errors.As(err, &wrong):
			problems = append(problems, wrong...)
		case err != nil:
			return &configError{fmt.Errorf("%s: policy: %w", p.File, err)}
		}
		all = append(all, d)
		return nil
	}
	if err := add("", c.Policy); err != nil {
		return nil, err
	}
	for _, w := range c.Wallets {
		if err := add(w.Name, w.Policy); err != nil {
			return nil, err
		}
	}
	if len(problems) > 0 {
		return nil, &configError{problems}
	}
	return all, nil
}
