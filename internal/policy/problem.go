// SPDX-License-Identifier: Apache-2.0

package policy

import "github.com/hsmsigner/hsmsigner/internal/strictyaml"

// Problem is one thing that is wrong with a policy.
type Problem = strictyaml.Problem

// Errors is everything that is wrong with a policy, in the order of its lines.
// It is never empty when returned as an error.
type Errors = strictyaml.Errors
