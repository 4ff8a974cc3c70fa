<?php

// Verify a request of cdc-hooks: copy this file, and call verify before anything else:
//
//     verify(getenv('WEBHOOK_SECRET'), $_SERVER, file_get_contents('php://input'));

declare(strict_types=1);

namespace CdcHooks;

const TOLERANCE_S = 300;

final class WrongSignature extends \Exception // the request is not genuine, or too old: answer 401 and forget it
{
}

/** Returns if the request is genuine, else throws. $server as PHP's $_SERVER; $body as it came, before any parsing. */
function verify(string $secret, array $server, string $body): void
{
    $id = $server['HTTP_WEBHOOK_ID'] ?? '';
    $timestamp = $server['HTTP_WEBHOOK_TIMESTAMP'] ?? '';
    if (!preg_match('/^[0-9]{1,12}$/D', $timestamp) || abs(time() - (int) $timestamp) > TOLERANCE_S) {
        throw new WrongSignature('the timestamp is missing, or more than five minutes off');
    }
    $expected = 'v1,' . base64_encode(hash_hmac('sha256', "$id.$timestamp.$body", key_of($secret), true));
    // One signature for each secret that is in use while secrets are being changed; other versions are skipped.
    foreach (explode(' ', $server['HTTP_WEBHOOK_SIGNATURE'] ?? '') as $signature) {
        if (hash_equals($expected, $signature)) {
            return;
        }
    }
    throw new WrongSignature('no signature matches');
}

/** whsec_ and base64 of the key, or plain text, which is the key itself. */
function key_of(string $secret): string
{
    $key = str_starts_with($secret, 'whsec_') ? base64_decode(substr($secret, 6)) : $secret;
    if ($key === '') {
        throw new \ValueError('the secret is empty: everybody could sign with it');
    }
    return $key;
}
