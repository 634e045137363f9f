// Path templates such as `/v1/tenants/{tenant}`, matched against the path as it came. Pure.

export interface PathTemplate {
  readonly text: string;
  readonly segments: readonly ({ readonly literal: string } | { readonly parameter: string })[];
}

export function pathTemplate(text: string): PathTemplate {
  const segments = text
    .slice(1)
    .split('/')
    .map((segment) => (segment.startsWith('{') ? { parameter: segment.slice(1, -1) } : { literal: segment }));
  return { text, segments };
}

/** The path's segments, decoded one by one, so that an encoded `/` never makes two of one; undefined when an encoding is broken. */
export function pathSegments(path: string): string[] | undefined {
  try {
    return path.slice(1).split('/').map(decodeURIComponent);
  } catch {
    return undefined;
  }
}

/** The parameters' values when the path fits; an empty segment fits no parameter. */
export function matchPath(
  template: PathTemplate,
  segments: readonly string[],
): Record<string, string> | undefined {
  if (template.segments.length !== segments.length) return undefined;
  const values: Record<string, string> = {};
  for (const [index, expected] of template.segments.entries()) {
    const actual = segments[index] ?? '';
    if ('literal' in expected) {
      if (expected.literal !== actual) return undefined;
    } else {
      if (actual === '') return undefined;
      values[expected.parameter] = actual;
    }
  }
  return values;
}
