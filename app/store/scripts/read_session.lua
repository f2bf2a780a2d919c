-- Read a session as it is at one moment.   KEYS meta, messages, tokens
return {redis.call('HGETALL', KEYS[1]), redis.call('HGETALL', KEYS[2]), redis.call('HGETALL', KEYS[3])}
